"""account_of(): where the time of a slow request went, in words. Pure."""

from __future__ import annotations

from ...scheduler.job import Batch, Job
from ..wire.messages import Timing


def account_of(job: Job, seconds: float, now: float, end: str) -> str:
    """Return how `seconds` were spent, in ms: before the queue, in it, and in the worker, whose hooks are named.

    `now` is on the scheduler's clock, and when the request came to its `end`, such as "it was answered".
    """
    since = now - job.arrived
    parts: list[str] = []
    if seconds - since >= 5e-4:
        parts.append(f"{_ms(seconds - since)} until it was queued")
    batch = job.batch
    if batch is None:
        return ", ".join([*parts, f"{_ms(since)} in the queue until {end}"])
    parts.append(f"{_ms(batch.formed - job.arrived)} in the queue")
    if job.started is None:
        return ", ".join([*parts, f"{_ms(now - batch.formed)} behind the batch before it until {end}"])
    if job.started - batch.formed >= 5e-4:
        parts.append(f"{_ms(job.started - batch.formed)} behind the batch before it")
    parts.append(
        f"{_ms(now - job.started)} in {batch.runner.name} until {end}, in a batch of {len(batch.jobs)}"
        f" ({batch.reason.value}){_handler(batch)}"
    )
    return ", ".join(parts)


def _handler(batch: Batch) -> str:
    timing = batch.timing
    if not isinstance(timing, Timing):
        return ""
    begin, end = timing.handler
    hooks = ", ".join([f"{name} {_ms(until - since)}" for name, since, until in timing.hooks])
    return f": handler {_ms(end - begin)}{f' ({hooks})' if hooks else ''}"


def _ms(seconds: float) -> str:
    return f"{max(0.0, seconds) * 1e3:.0f} ms"
