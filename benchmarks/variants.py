"""This server with something changed, to measure against: `variants.py bare|leaky ARGUMENTS OF torchserve…`.

bare: the front counts no request and no batch and writes no access log. leaky: it keeps a kilobyte of every scrape of
/metrics, and every hundredth opens a file for good; and it keeps two kilobytes of every hundredth prediction.
"""

# pyright: reportMissingImports=false
# It runs by itself in the environment of the server, and imports that by its installed name.
from __future__ import annotations

import itertools
import os
import sys
from typing import Any

from torchserve.cli.main import main
from torchserve.core.logs.writer import LogWriter
from torchserve.core.metrics.model_metrics import ModelMetrics
from torchserve.core.metrics.store import MetricStore

KEPT_BYTES, SCRAPES_PER_FILE = 1024, 100
KEPT_OF_PREDICTION, PREDICTIONS = 2048, 100  # about 2 MiB of 100,000, twice what benchmarks.endurance lets pass


def bare() -> None:
    """Take the counting out. What the worker measures of its handler is still sent along."""
    MetricStore.request = _nothing
    LogWriter.access = _nothing
    for name in ("requested", "answered", "batch_answered", "samples"):
        setattr(ModelMetrics, name, _nothing)


def leaky() -> None:
    """Plant a leak of memory and one of files."""
    render, kept, files = MetricStore.render, [], []

    def keeping(self: MetricStore, *names: Any) -> bytes:
        kept.append(os.urandom(KEPT_BYTES))
        if len(kept) % SCRAPES_PER_FILE == 0:
            files.append(os.open(os.devnull, os.O_RDONLY))
        return render(self, *names)

    MetricStore.render = keeping
    requested, counted, hoard = ModelMetrics.requested, itertools.count(1), []

    def hoarding(self: ModelMetrics, *, named: bool) -> None:
        if next(counted) % PREDICTIONS == 0:
            hoard.append(os.urandom(KEPT_OF_PREDICTION))
        requested(self, named=named)

    ModelMetrics.requested = hoarding


def _nothing(*_given: object, **_named: object) -> None:
    """Called where something was counted."""


if __name__ == "__main__":
    {"bare": bare, "leaky": leaky}[sys.argv.pop(1)]()
    main()
