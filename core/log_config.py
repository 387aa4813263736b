"""`--log-config`: a Python dictConfig (YAML or JSON), or the log levels of a log4j2.xml."""

from __future__ import annotations

import logging
import logging.config
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from .errors import InvalidConfig

log = logging.getLogger(__name__)

# TorchServe's logger names -> ours. Its others (ACCESS_LOG, the metrics) are not Python loggers here.
_LOGGERS = {"org.pytorch.serve": "torchserve", "MODEL_LOG": "MODEL_LOG", "root": ""}
_LEVELS = {
    "ALL": logging.DEBUG, "TRACE": logging.DEBUG, "DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARN": logging.WARNING,
    "ERROR": logging.ERROR, "FATAL": logging.CRITICAL, "OFF": logging.CRITICAL + 10,
}  # fmt: skip


def apply_log_config(path: Path) -> None:
    """Apply a configuration on top of the log files. Raises InvalidConfig naming the file and what is wrong."""
    try:
        text = path.read_bytes()
        if path.suffix in {".yaml", ".yml", ".json"}:
            _apply_dict(yaml.safe_load(text))
        else:
            _apply_log4j2(ElementTree.fromstring(_refuse_entities(text)), path)  # noqa: S314  (entities are refused)
    except (
        OSError,
        ValueError,
        TypeError,
        AttributeError,
        ImportError,
        yaml.YAMLError,
        ElementTree.ParseError,
    ) as error:
        raise InvalidConfig(f"Invalid configuration: --log-config {path}: {error}") from error


def _apply_dict(config: Any) -> None:
    if not isinstance(config, dict):
        raise TypeError("it holds no dictConfig mapping")
    defaults = {"version": 1, "incremental": "handlers" not in config, "disable_existing_loggers": False}
    logging.config.dictConfig(defaults | config)


def _apply_log4j2(root: ElementTree.Element, path: Path) -> None:
    for element in root.iter():
        name = "root" if element.tag == "Root" else element.get("name", "")
        if element.tag not in {"Root", "Logger", "AsyncLogger"} or name not in _LOGGERS or not element.get("level"):
            continue
        level = _LEVELS.get(element.get("level", "").upper())
        if level is None:
            raise ValueError(f"{element.get('level')!r} is no log4j2 level")
        logging.getLogger(_LOGGERS[name]).setLevel(level)
    log.warning("--log-config %s: its levels are used; appenders and layouts keep TorchServe's files and format", path)


def _refuse_entities(text: bytes) -> bytes:
    """No document type, no entities: nothing can be made to grow or to be read from elsewhere."""
    if (
        b"<!" in text.replace(b"<!--", b"") or b"\0" in text
    ):  # with a NUL it is UTF-16 or -32, where `<!` looks otherwise
        raise ValueError("document types and entities are not accepted, nor encodings other than UTF-8")
    return text
