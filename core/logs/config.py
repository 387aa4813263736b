"""`--log-config`: log4j2.xml, log4j's properties, or a Python dictConfig in YAML or JSON."""

from __future__ import annotations

import logging
import logging.config
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..bounded_yaml import YAML_ERRORS, load_yaml
from ..errors import InvalidConfig
from .log4j import interpret
from .log4j_properties import as_tree
from .plan import Plan

log = logging.getLogger(__name__)

_WRONG = (OSError, ImportError, ElementTree.ParseError, *YAML_ERRORS)


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What the file says: a `plan` in place of the default one, or a dictConfig on top of it."""

    path: Path
    plan: Plan | None = None
    on_top: Mapping[str, Any] | None = None

    def apply(self) -> None:
        """With the log open: what is on top of it, and what there is to say. Raises InvalidConfig."""
        if self.on_top is not None:
            # Incremental where it names no handlers: a whole dictConfig ends those that there are.
            defaults = {"version": 1, "incremental": "handlers" not in self.on_top, "disable_existing_loggers": False}
            try:
                logging.config.dictConfig(defaults | dict(self.on_top))
            except _WRONG as error:
                raise _invalid(self.path, error) from error
        for warning in self.plan.warnings if self.plan is not None else ():
            log.warning("--log-config %s: %s", self.path, warning)


def read_log_config(path: Path) -> LogConfig:
    """Raises InvalidConfig naming the file and what is wrong with it."""
    try:
        if path.suffix in {".yaml", ".yml", ".json"}:
            return LogConfig(path, on_top=_mapping(load_yaml(path.read_bytes())))
        if path.suffix == ".properties":
            return LogConfig(path, plan=interpret(as_tree(path.read_text(encoding="utf-8"))))
        text = _refuse_entities(path.read_bytes())
        return LogConfig(path, plan=interpret(ElementTree.fromstring(text)))  # noqa: S314  (entities are refused)
    except _WRONG as error:
        raise _invalid(path, error) from error


def _invalid(path: Path, error: Exception) -> InvalidConfig:
    return InvalidConfig(f"Invalid configuration: --log-config {path}: {error}")


def _mapping(config: object) -> Mapping[str, Any]:
    if not isinstance(config, dict):
        raise TypeError("it holds no dictConfig mapping")
    return config


def _refuse_entities(text: bytes) -> bytes:
    """No document type, no entities: nothing can be made to grow or to be read from elsewhere."""
    # With a NUL it is UTF-16 or -32, where `<!` looks otherwise.
    if b"<!" in text.replace(b"<!--", b"") or b"\0" in text:
        raise ValueError("document types and entities are not accepted, nor encodings other than UTF-8")
    return text
