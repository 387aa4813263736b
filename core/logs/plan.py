"""Plan: which lines go to which sinks, in which shape. Pure; the default one is TorchServe's."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .layout import PLAIN_PATTERN, TS_PATTERN, Layout, json_layout, pattern_layout
from .rotation import Rotation

ACCESS, MODEL, TS_METRICS, MODEL_METRICS = "ACCESS_LOG", "MODEL_LOG", "TS_METRICS", "MODEL_METRICS"
ROOT = ""


@dataclass(frozen=True, slots=True, eq=False)
class Sink:
    """A file, or the console where `path` is None. Two sinks are the same only if they are one object."""

    layout: Layout
    path: Path | None = None
    rotation: Rotation | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """The lines of a logger from `level` on."""

    level: int
    sinks: tuple[Sink, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Routes by the names of Python's loggers and of the streams; `ROOT` is for all others."""

    routes: Mapping[str, Route]
    warnings: tuple[str, ...] = field(default=())

    def route(self, logger: str) -> Route:
        """The route of a logger: its own, or that of its nearest ancestor."""
        name = logger
        while name and name not in self.routes:
            name = name.rpartition(".")[0]
        return self.routes.get(name) or self.routes[ROOT]

    def without_console(self) -> Plan:
        """The same without the console, which in the background is a file of the log itself."""
        files = {
            name: Route(route.level, tuple(sink for sink in route.sinks if sink.path is not None))
            for name, route in self.routes.items()
        }
        return Plan(files, self.warnings)

    def sinks(self) -> tuple[Sink, ...]:
        """All sinks, each once."""
        return tuple(dict.fromkeys(sink for route in self.routes.values() for sink in route.sinks))


def default_plan(*, console: bool, as_json: bool = False) -> Plan:
    """TorchServe's five files and, with `console`, all of their lines on standard output."""
    full = json_layout if as_json else pattern_layout(TS_PATTERN)
    plain = json_layout if as_json else pattern_layout(PLAIN_PATTERN)
    shown = (Sink(full),) if console else ()
    logs, metrics = log_folder(), metrics_folder()
    files = {
        ROOT: _rolled(full, logs, "ts_log"),
        MODEL: _rolled(full, logs, "model_log"),
        ACCESS: _rolled(plain, logs, "access_log"),
        TS_METRICS: _rolled(plain, metrics, "ts_metrics"),
        MODEL_METRICS: _rolled(plain, metrics, "model_metrics"),
    }
    return Plan({name: Route(logging.INFO, (*shown, sink)) for name, sink in files.items()})


def _rolled(layout: Layout, folder: Path, name: str) -> Sink:
    return Sink(layout, folder / f"{name}.log", Rotation(f"{folder}/{name}.%d{{dd-MMM}}.log.gz"))


def log_folder() -> Path:
    """Where the logs go: $LOG_LOCATION, or ./logs."""
    return Path(os.environ.get("LOG_LOCATION") or "logs").absolute()


def metrics_folder() -> Path:
    """Where ts_metrics.log and model_metrics.log go: $METRICS_LOCATION, or ./logs, whatever $LOG_LOCATION says."""
    return Path(os.environ.get("METRICS_LOCATION") or "logs").absolute()
