"""Turns the jobs of a batch into the rows and bodies of the message that orders a worker to run it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...scheduler.job import Job
from ..payload import Body, Payload
from ..wire.messages import PartHead, Row


def rows_of(jobs: Sequence[Job]) -> tuple[tuple[Row, ...], list[Body], list[Any]]:
    """Return a row for each job, the bodies of all of them, and the trace and the arrival of those that are recorded.

    Jobs that go on with what they began have no parts, and only their first batch is in their trace.
    """
    rows: list[Row] = []
    bodies: list[Body] = []
    traces: list[Any] = []
    for job in jobs:
        payload = job.payload
        assert isinstance(payload, Payload)
        parts = () if job.resumed else payload.parts
        if len(parts) == 1:  # as most requests have it: a comprehension costs a call
            (part,) = parts
            heads: tuple[PartHead, ...] = (PartHead(part.name, part.content_type),)
            bodies.append(part.body)
        else:
            heads = tuple([PartHead(part.name, part.content_type) for part in parts])
            bodies.extend([part.body for part in parts])
        rows.append(Row(payload.request_id, heads, payload.headers, payload.infer))
        if payload.trace is not None and not job.resumed:
            traces.append((payload.trace, job.arrived))
    return tuple(rows), bodies, traces
