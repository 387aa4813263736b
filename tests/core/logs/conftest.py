"""Logging is global: every test here gets it back as it was."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from torchserve.core.logs.install import open_logs
from torchserve.core.logs.plan import LogPlan, default_plan
from torchserve.core.logs.writer import LogWriter

NAMES = ("torchserve", "MODEL_LOG", "torchserve.http", "mine")
Logging = Callable[..., AbstractContextManager[LogWriter]]


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """LOG_LOCATION and METRICS_LOCATION are the test's folder."""
    monkeypatch.setenv("LOG_LOCATION", str(tmp_path))
    monkeypatch.setenv("METRICS_LOCATION", str(tmp_path / "metrics"))
    return tmp_path


@pytest.fixture
def logging_to() -> Logging:
    """open_logs for the time of a `with`; what was logged is in its files behind it."""

    @contextmanager
    def opened(plan: LogPlan | None = None) -> Iterator[LogWriter]:
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        levels = {name: logging.getLogger(name).level for name in NAMES}
        root.handlers[:] = []
        writer = open_logs(plan or default_plan(console=False))
        try:
            yield writer
        finally:
            logging.captureWarnings(False)
            root.handlers[:] = handlers
            root.setLevel(level)
            for name, before in levels.items():
                logging.getLogger(name).setLevel(before)
            writer.close()

    return opened
