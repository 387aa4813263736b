"""Turns a worker's answer into the outcomes that a scheduler gives to its jobs."""

from __future__ import annotations

from collections.abc import Sequence

from ...scheduler.job import Batch, Continue, Job
from ..errors import HandlerFailed, WorkerDied
from ..payload import Body, Reply
from ..wire.messages import CONTINUES_HEADER, Load, Result


def replies(results: Sequence[Result], bodies: Sequence[Body]) -> list[Reply | HandlerFailed]:
    """Return each request's reply, or its failure. Without `results`, all are DEFAULT_RESULT."""
    if not results:
        return [Reply(body) for body in bodies]
    return [
        HandlerFailed(result.error, result.status)
        if result.error
        else Reply(body, result.status, result.phrase, result.content_type, result.headers)
        for result, body in zip(results, bodies, strict=True)
    ]


def outcomes_of(load: Load, jobs: Sequence[Job], replied: Sequence[Reply | HandlerFailed]) -> Sequence[object]:
    """Return the outcomes for the scheduler: `replied`, with a Continue for each request of a continuous batch that
    goes on.

    For a stateful model, also set `ends` of the jobs whose answer has the header for it: the handler may end a sequence
    as well as the client.
    """
    end = load.environment.get("TS_REQUEST_SEQUENCE_END")
    if end is not None:
        for job, reply in zip(jobs, replied, strict=True):
            job.ends = job.ends or _has(reply, end)
    if not load.continuous:
        return replied
    return [Continue(reply) if _has(reply, CONTINUES_HEADER, "true") else reply for reply in replied]


def _has(reply: Reply | HandlerFailed, header: str, value: str | None = None) -> bool:
    if isinstance(reply, HandlerFailed):
        return False
    return any(name == header and value in {None, said} for name, said in reply.headers)


def died(load: Load, worker: str, batch: Batch, reason: str, *, out_of_memory: bool) -> WorkerDied:
    """Return the error of the requests that a worker ran when its process ended for `reason`."""
    text = (
        f"Worker died. {worker} of model {load.model_name} version {load.model_version} {reason}"
        f" while it ran this request in a batch of {len(batch.jobs)}; it is being restarted."
        " The model log has what it printed."
    )
    return WorkerDied(text, out_of_memory=out_of_memory)
