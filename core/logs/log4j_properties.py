"""as_tree(): turns log4j's properties files, of versions 2 and 1, into the tree of elements of the XML form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias
from xml.etree.ElementTree import Element, SubElement

import javaproperties

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


# ---- version 2: `appender.x.type = RollingFile`, `logger.y.name = …`, `rootLogger.level = …`


def _version_2(values: Mapping[str, str]) -> Element:
    tree: Tree = {}
    for key, value in values.items():
        _put(tree, key.split("."), value.strip())
    root = Element("Configuration")
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
        SubElement(node, "AppenderRef", ref=_scalar(reference["ref"] if isinstance(reference, dict) else reference))
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
