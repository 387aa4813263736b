"""end_runs(): what becomes of the batches that a process had when it ended.

Those that it had not begun are queued again. What it ran fails or, of a model that says it is idempotent, is queued
again, each request once: it may be that request which ends processes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ...scheduler.model_scheduler import ModelScheduler
from ..wire.messages import Load
from .outcomes import died
from .run import Run

log = logging.getLogger(__name__)

# Causes that another process may be spared; a batch that took too long, or broke a device, would do so again.
ANOTHER_CHANCE: Final = frozenset({"exited", "killed", "gpu_lost", "protocol"})


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a process: the worker, with its node, and the reason."""

    worker: str
    reason: str
    out_of_memory: bool


def end_runs(scheduler: ModelScheduler, load: Load, runs: Sequence[Run], death: Death, *, repeats: bool) -> None:
    """End each of `runs`, in the order of sending, by the scheduler's `requeue`, `repeat` or `fail`."""
    for run in reversed(runs):
        if run.due is None:
            run.withdraw()
            scheduler.requeue(run.batch)
            continue
        run.end()
        error = died(load, death.worker, run.batch, death.reason, out_of_memory=death.out_of_memory)
        if repeats and not run.streamed:
            log.warning("What %s ran, a batch of %d, is run again (idempotent)", death.worker, len(run.batch.jobs))
            scheduler.repeat(run.batch, error)
        else:
            scheduler.fail(run.batch, error)
