"""LogPlan: which lines go to which appenders, in which layout. Pure; the default plan is TorchServe's."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .filters import Accepts
from .layout import PLAIN_PATTERN, TS_PATTERN, Layout, json_layout
from .patterns import pattern_layout
from .rotation import Rotation

ACCESS, MODEL, TS_METRICS, MODEL_METRICS = "ACCESS_LOG", "MODEL_LOG", "TS_METRICS", "MODEL_METRICS"
ROOT = ""


@dataclass(frozen=True, slots=True, eq=False)
class Appender:
    """A file, or the console if `path` is None. Two appenders are equal only if they are one object.

    `accepts` says which lines it takes, None for all. With `shares`, lines go to that appender's file, in this one's
    layout. The console is standard error with `errors`.
    """

    layout: Layout
    path: Path | None = None
    rotation: Rotation | None = None
    accepts: Accepts | None = None
    shares: Appender | None = None
    errors: bool = False

    @property
    def output(self) -> Appender:
        """The appender whose file or stream lines go to."""
        return self.shares or self


@dataclass(frozen=True, slots=True)
class Route:
    """A logger's lowest level, and the appenders of its lines."""

    level: int
    appenders: tuple[Appender, ...]


@dataclass(frozen=True, slots=True)
class LogPlan:
    """The routes by the names of Python's loggers and of the streams; `ROOT` is for all others."""

    routes: Mapping[str, Route]
    warnings: tuple[str, ...] = field(default=())

    def route(self, logger: str) -> Route:
        """Return the route of a logger: its own, or that of its nearest ancestor."""
        name = logger
        while name and name not in self.routes:
            name = name.rpartition(".")[0]
        return self.routes.get(name) or self.routes[ROOT]

    def without_console(self) -> LogPlan:
        """Return this plan without the console, which in the background is itself redirected to a log file."""
        files = {
            name: Route(route.level, tuple(appender for appender in route.appenders if appender.path is not None))
            for name, route in self.routes.items()
        }
        return LogPlan(files, self.warnings)

    def appenders(self) -> tuple[Appender, ...]:
        """Return all appenders that have a file or a stream of their own, each once."""
        return tuple(dict.fromkeys(each.output for route in self.routes.values() for each in route.appenders))


def default_plan(*, console: bool, as_json: bool = False) -> LogPlan:
    """Return TorchServe's five files and, with `console`, all of their lines on standard output."""
    full = json_layout if as_json else pattern_layout(TS_PATTERN)
    plain = json_layout if as_json else pattern_layout(PLAIN_PATTERN)
    shown = (Appender(full),) if console else ()
    logs, metrics = log_folder(), metrics_folder()
    files = {
        ROOT: _rolled(full, logs, "ts_log"),
        MODEL: _rolled(full, logs, "model_log"),
        ACCESS: _rolled(plain, logs, "access_log"),
        TS_METRICS: _rolled(plain, metrics, "ts_metrics"),
        MODEL_METRICS: _rolled(plain, metrics, "model_metrics"),
    }
    return LogPlan({name: Route(logging.INFO, (*shown, appender)) for name, appender in files.items()})


def _rolled(layout: Layout, folder: Path, name: str) -> Appender:
    return Appender(layout, folder / f"{name}.log", Rotation(f"{folder}/{name}.%d{{dd-MMM}}.log.gz"))


def log_folder() -> Path:
    """Return the folder of the logs: $LOG_LOCATION, or ./logs."""
    return Path(os.environ.get("LOG_LOCATION") or "logs").absolute()


def metrics_folder() -> Path:
    """Return the folder of ts_metrics.log and model_metrics.log: $METRICS_LOCATION, or ./logs."""
    return Path(os.environ.get("METRICS_LOCATION") or "logs").absolute()
