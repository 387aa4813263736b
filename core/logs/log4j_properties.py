"""as_tree() and from_mapping(): turn log4j's properties, of versions 2 and 1, YAML and JSON into the tree of XML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias
from xml.etree.ElementTree import Element, SubElement

import javaproperties

_LISTS = frozenset({"appenders", "loggers", "filters", "appender", "logger", "rootLogger"})  # of names, once needed

Tree: TypeAlias = "dict[str, str | Tree]"

_CLASSES = {
    "ConsoleAppender": "Console", "FileAppender": "File", "RollingFileAppender": "RollingFile",
    "DailyRollingFileAppender": "RollingFile",
}  # fmt: skip


def as_tree(text: str) -> Element:
    """Return the root element. Raises ValueError if the text declares no logger or is no properties file."""
    values = javaproperties.loads(text)
    first = {key: value for key, value in values.items() if key.startswith("log4j.")}
    root = _version_1(first) if first else _version_2(values)
    if not any(node.tag == "Loggers" and len(node) for node in root):
        raise ValueError("it configures no logger")
    return root


def from_mapping(content: Mapping[str, Any]) -> Element | None:
    """Return the tree of a log4j2 configuration in YAML or JSON; None if it is a dictConfig of Python's."""
    found = next((value for key, value in content.items() if str(key).lower() == "configuration"), None)
    return _of_mapping("Configuration", found) if isinstance(found, Mapping) else None


def _of_mapping(name: str, content: Mapping[str, Any]) -> Element:
    node = Element(name)
    for key, value in content.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, Mapping):
                node.append(_of_mapping(str(key), each))
            elif isinstance(value, list):
                SubElement(node, str(key)).text = str(each)
            elif each is not None:
                node.set(str(key), str(each).lower() if isinstance(each, bool) else str(each))
            else:
                SubElement(node, str(key))  # `JsonLayout:` without anything
    return node


# ---- version 2: `appender.x.type = RollingFile`, `logger.y.name = …`, `rootLogger.level = …`


def _version_2(values: Mapping[str, str]) -> Element:
    tree: Tree = {}
    for key, value in values.items():
        _put(tree, key.split("."), value.strip())
    root = Element("Configuration")
    for name, value in tree.items():
        if isinstance(value, str) and name not in _LISTS:
            root.set(name, value)
        elif name == "filter" and isinstance(value, dict):
            root.extend([_element(kind, part) for kind, part in value.items()])
    levels = SubElement(root, "CustomLevels")
    for name, value in _below(tree, "customLevel").items():
        SubElement(levels, "CustomLevel", name=name, intLevel=_scalar(value))
    properties = SubElement(root, "Properties")
    for name, value in _below(tree, "property").items():
        SubElement(properties, "Property", name=name, value=_scalar(value))
    appenders = SubElement(root, "Appenders")
    appenders.extend([_element(name, part) for name, part in _below(tree, "appender").items()])
    loggers = SubElement(root, "Loggers")
    for part in _below(tree, "logger").values():
        loggers.append(_logger("Logger", part))
    if "rootLogger" in tree:
        loggers.append(_logger("Root", tree["rootLogger"]))
    return root


def _put(tree: Tree, path: list[str], value: str) -> None:
    for part in path[:-1]:
        below = tree.get(part)
        if not isinstance(below, dict):
            below = tree[part] = {} if below is None else {"": below}
        tree = below
    before = tree.get(path[-1])
    if isinstance(before, dict):
        before[""] = value
    else:
        tree[path[-1]] = value


def _below(tree: Tree, name: str) -> Tree:
    found = tree.get(name, {})
    return found if isinstance(found, dict) else {}


def _scalar(value: str | Tree) -> str:
    return value if isinstance(value, str) else str(value.get("", ""))


def _element(name: str, part: str | Tree) -> Element:
    """Return the element of a component: its `type` is the tag, values are attributes, nested components children."""
    if isinstance(part, str):
        return Element(name, value=part)
    node = Element(_scalar(part.get("type", name)))
    for key, value in part.items():
        if isinstance(value, str):
            if key not in {"", "type"}:
                node.set(key, value)
        elif key in {"filter", "appenderRef"} and "type" not in value:
            node.extend([_element(kind, each) for kind, each in value.items()])
        else:
            node.append(_element(key, value))
    if "name" not in part:
        node.set("name", name)
    return node


def _logger(tag: str, part: str | Tree) -> Element:
    if isinstance(part, str):  # `rootLogger = INFO, console`
        return _short(tag, part)
    node = _short(tag, _scalar(part))
    for key in ("name", "level", "additivity"):
        if key in part:
            node.set(key, _scalar(part[key]))
    for reference in _below(part, "appenderRef").values():
        node.append(_reference(reference))
    node.extend([_element(kind, each) for kind, each in _below(part, "filter").items()])
    return node


def _reference(part: str | Tree) -> Element:
    if isinstance(part, str):
        return Element("AppenderRef", ref=part)
    node = Element("AppenderRef", ref=_scalar(part.get("ref", "")), level=_scalar(part.get("level", "")))
    node.extend([_element(kind, each) for kind, each in _below(part, "filter").items()])
    return node


def _short(tag: str, text: str) -> Element:
    """Return the element of `INFO, console, file`: a level, which may be left out, and appenders."""
    level, *names = [word.strip() for word in text.split(",")]
    node = Element(tag, level=level) if level else Element(tag)
    for name in filter(None, names):
        SubElement(node, "AppenderRef", ref=name)
    return node


# ---- version 1: `log4j.appender.x = org.apache.log4j.RollingFileAppender`, `log4j.rootLogger = INFO, x`


def _version_1(values: Mapping[str, str]) -> Element:
    root = Element("Configuration")
    appenders, loggers = SubElement(root, "Appenders"), SubElement(root, "Loggers")
    for key, value in values.items():
        kind, _, name = key.removeprefix("log4j.").partition(".")
        if kind == "appender" and "." not in name:
            appenders.append(_appender_1(name, value.strip(), values))
        elif kind in {"rootLogger", "rootCategory"}:
            loggers.append(_short("Root", value))
        elif kind in {"logger", "category"}:
            node = _short("Logger", value)
            node.set("name", name)
            node.set("additivity", values.get(f"log4j.additivity.{name}", "true"))
            loggers.append(node)
    return root


def _appender_1(name: str, kind: str, values: Mapping[str, str]) -> Element:
    def option(key: str, default: str = "") -> str:
        wanted = f"log4j.appender.{name}.{key}".lower()
        return next((value.strip() for each, value in values.items() if each.lower() == wanted), default)

    short = kind.rpartition(".")[2]
    path = option("File")
    node = Element(_CLASSES.get(short, short), name=name)
    if path:
        node.set("fileName", path)
    if option("Target").lower() == "system.err":
        node.set("target", "SYSTEM_ERR")
    if option("Threshold"):
        SubElement(node, "ThresholdFilter", level=option("Threshold"))
    SubElement(node, option("layout").rpartition(".")[2] or "PatternLayout", pattern=option("layout.ConversionPattern"))
    if short == "RollingFileAppender":
        node.set("filePattern", f"{path}.%i")
        SubElement(node, "SizeBasedTriggeringPolicy", size=option("MaxFileSize", "10MB"))
        SubElement(node, "DefaultRolloverStrategy", max=option("MaxBackupIndex", "1"))
    elif short == "DailyRollingFileAppender":
        dates = option("DatePattern", "'.'yyyy-MM-dd")
        node.set("filePattern", f"{path}%d{{{dates}}}")
        SubElement(node, "TimeBasedTriggeringPolicy")
    return node
