"""Turns the jobs of a batch into the rows and bodies of the message that orders a worker to run it."""

from __future__ import annotations

from collections.abc import Sequence

from ...scheduler.job import Job
from ..payload import Body, Payload
from ..wire.messages import PartHead, Row


def rows_of(jobs: Sequence[Job]) -> tuple[tuple[Row, ...], list[Body]]:
    """Return a row for each job, and the bodies of all of them. Jobs that go on with what they began have no parts."""
    rows: list[Row] = []
    bodies: list[Body] = []
    for job in jobs:
        payload = job.payload
        assert isinstance(payload, Payload)
        parts = () if job.resumed else payload.parts
        heads = tuple([PartHead(part.name, part.content_type) for part in parts])
        rows.append(Row(payload.request_id, heads, payload.headers, payload.infer))
        bodies.extend([part.body for part in parts])
    return tuple(rows), bodies
