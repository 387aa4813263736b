"""Starts this server with a change, for comparison: `variants.py bare|leaky ARGUMENTS OF torchserve…`.

bare: the front counts no requests and batches and writes no access log. leaky: the front keeps a kilobyte of each
scrape of /metrics, opens a file at each hundredth one for good, and keeps two kilobytes of each hundredth prediction.
"""

# pyright: reportMissingImports=false
# This file runs as a program in the server's environment, and imports the server by its installed name.
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
KEPT_OF_PREDICTION, PREDICTIONS = 2048, 100  # about 2 MiB per 100,000, twice what benchmarks.endurance allows


def bare() -> None:
    """Remove the counting. What the worker measures about its handler is still sent to the front."""
    MetricStore.request = _nothing
    LogWriter.access = _nothing
    for name in ("requested", "succeeded", "batch_finished", "samples"):
        setattr(ModelMetrics, name, _nothing)


def leaky() -> None:
    """Plant a leak of memory and one of open files."""
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
    """Do nothing, in place of a method that counts."""


if __name__ == "__main__":
    {"bare": bare, "leaky": leaky}[sys.argv.pop(1)]()
    main()
