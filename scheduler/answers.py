"""How the outcomes of jobs reach their sinks, and what is let go of behind them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from .job import Batch, Continue, Job

_log = logging.getLogger(__name__)


def answer_all(jobs: Sequence[Job], outcomes: Sequence[object]) -> None:
    """Pass on the outcomes of jobs, one for each. What a sink raises is logged: it must not hurt the other jobs."""
    for job, outcome in zip(jobs, outcomes, strict=True):
        if job.cancelled:
            continue
        try:
            if isinstance(outcome, Exception):
                job.sink.fail(outcome)
            elif isinstance(outcome, Continue):
                job.sink.chunk(outcome.item)
            else:
                job.sink.done(outcome)
        except Exception:  # noqa: BLE001 - a sink is the caller's code
            _log.exception("The sink of job %s raised", job.id)


def unlink(batch: Batch) -> None:
    """Break the reference cycle of a batch and its jobs, which would keep all bodies until a garbage collection."""
    for job in batch.jobs:
        if job.batch is batch:  # a job that goes on belongs to its next batch already
            job.batch = None


def pass_on(job: Job, item: object) -> None:
    """Pass a part of its answer on to the job's sink, as `answer_all` does a Continue."""
    if job.cancelled:
        return
    try:
        job.sink.chunk(item)
    except Exception:  # noqa: BLE001 - as above
        _log.exception("The sink of job %s raised", job.id)


def all_failed(outcomes: Sequence[object]) -> bool:
    """Return whether no job of a batch has an answer. It costs every batch a call, so no generator's."""
    for outcome in outcomes:  # noqa: SIM110
        if not isinstance(outcome, Exception):
            return False
    return True
