"""Reads `--log-config`: log4j2 in XML, properties, YAML or JSON, log4j's properties, or a Python dictConfig."""

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
from .log4j_properties import as_tree, from_mapping
from .plan import LogPlan

log = logging.getLogger(__name__)

_WRONG = (OSError, ImportError, ElementTree.ParseError, *YAML_ERRORS)


@dataclass(frozen=True, slots=True)
class LogConfig:
    """The content of a --log-config file: a `plan` in place of the default one, or a dictConfig on top of it."""

    path: Path
    plan: LogPlan | None = None
    on_top: Mapping[str, Any] | None = None

    def apply(self) -> None:
        """Apply the dictConfig, if there is one, and log the plan's warnings.

        This must be called once the log is open. Raises InvalidConfig.
        """
        if self.on_top is not None:
            # Incremental unless it names handlers: a complete dictConfig removes the existing ones.
            defaults = {"version": 1, "incremental": "handlers" not in self.on_top, "disable_existing_loggers": False}
            try:
                logging.config.dictConfig(defaults | dict(self.on_top))
            except _WRONG as error:
                raise _invalid(self.path, error) from error
        for warning in self.plan.warnings if self.plan is not None else ():
            log.warning("--log-config %s: %s", self.path, warning)


def read_log_config(path: Path) -> LogConfig:
    """Read the file at `path`. Raises InvalidConfig naming the file and what is wrong with it."""
    try:
        if path.suffix in {".yaml", ".yml", ".json"}:
            content = _mapping(load_yaml(path.read_bytes()))
            tree = from_mapping(content)
            return LogConfig(path, on_top=content) if tree is None else LogConfig(path, plan=interpret(tree, path=path))
        if path.suffix == ".properties":
            return LogConfig(path, plan=interpret(as_tree(path.read_text(encoding="utf-8")), path=path))
        text = _refuse_entities(path.read_bytes())
        root = ElementTree.fromstring(text)  # noqa: S314  (entities are refused)
        return LogConfig(path, plan=interpret(root, path=path))
    except _WRONG as error:
        raise _invalid(path, error) from error


def _invalid(path: Path, error: Exception) -> InvalidConfig:
    return InvalidConfig(f"Invalid configuration: --log-config {path}: {error}")


def _mapping(config: object) -> Mapping[str, Any]:
    if not isinstance(config, dict):
        raise TypeError("it holds no dictConfig mapping")
    return config


def _refuse_entities(text: bytes) -> bytes:
    """Return `text` unless it declares a document type or entities, which could expand or read other files.

    Raises ValueError.
    """
    # A NUL means UTF-16 or UTF-32, in which the bytes of `<!` differ.
    if b"<!" in text.replace(b"<!--", b"") or b"\0" in text:
        raise ValueError("document types and entities are not accepted, nor encodings other than UTF-8")
    return text
