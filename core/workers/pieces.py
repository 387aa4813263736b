"""Pieces of answers on their way from a worker to the scheduler: of one batch, or of many in one pass."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Final

from ...scheduler.model_scheduler import ModelScheduler
from ..payload import Body, Reply
from ..wire.messages import DEFAULT_RESULT, Partial, Pieces
from .outcomes import replies
from .protocol_error import WorkerProtocolError
from .run import Run, expect

PIECES: Final = (Pieces, Partial)


def pass_on(
    message: Pieces | Partial,
    bodies: Sequence[Body],
    runs: Mapping[int, Run],
    given_up: Container[int],
    scheduler: ModelScheduler,
) -> None:
    """Pass on what has come of answers ahead of their ends, unless the batch is `given_up`.

    Raises WorkerProtocolError.
    """
    if isinstance(message, Pieces):
        _pass_on_further(message, bodies, runs, given_up, scheduler)
    elif message.batch not in given_up:
        run = expect(runs, message.batch, message.results or bodies, bodies)
        run.streamed = True
        if len(run.batch.jobs) == 1:
            run.head = message.results[0] if message.results else DEFAULT_RESULT
        scheduler.chunk(run.batch, replies(message.results, bodies))


def _pass_on_further(
    pieces: Pieces, bodies: Sequence[Body], runs: Mapping[int, Run], given_up: Container[int], scheduler: ModelScheduler
) -> None:
    if len(pieces.batches) != len(bodies):
        raise WorkerProtocolError(f"{len(bodies)} further pieces for {len(pieces.batches)} batches")
    for number, body in zip(pieces.batches, bodies, strict=True):
        run = runs.get(number)
        if run is not None and (head := run.head) is not None:
            reply = Reply(body, head.status, head.phrase, head.content_type, head.headers)
            scheduler.chunk(run.batch, (reply,))
        elif number not in given_up:
            raise WorkerProtocolError(f"a further piece for batch {number}, which had no first one")
