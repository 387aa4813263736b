"""Accepted: the requests of a batch that reach the handler. The others are answered without it.

A request is left out if its tensors can't be read, which only the worker finds out of large JSON documents and of the
lengths within BYTES. The handler never sees a hole: what it gets, and what it returns, is about the others alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from ..errors import BadRequest
from ..payload import Body, Infer
from ..wire.messages import DEFAULT_RESULT, Load, Predict, Result, Row, Sample
from .infer_inputs import read_whole, tensor_row
from .inputs import decode_rows
from .isolation import Rows, failed_row


@dataclass(slots=True)
class Accepted:
    """The accepted rows of a batch, their bodies, what the handler gets for each, and what `infer` each has.

    `places` are their positions in the batch, and `refused` the answers to the others by position.
    """

    predict: Predict
    bodies: list[Body] = field(default_factory=list[Body])
    data: list[Any] = field(default_factory=list[Any])
    infers: list[Infer | None] = field(default_factory=list["Infer | None"])
    places: list[int] = field(default_factory=list[int])
    refused: dict[int, tuple[Result, Body]] = field(default_factory=dict[int, tuple[Result, Body]])

    def complete(self, rows: Rows) -> Rows:
        """Return the answers to the whole batch, from those to the accepted rows."""
        if not self.refused:
            return rows
        results = rows.results or [DEFAULT_RESULT] * len(rows.bodies)
        answered = dict(zip(self.places, zip(results, rows.bodies, strict=True), strict=True)) | self.refused
        whole = Rows(samples=[self._placed(sample) for sample in rows.samples], failure=rows.failure)
        for index in range(len(answered)):
            whole.add(*answered[index])
        return whole

    def failed(self, code: int, message: str) -> Rows:
        """Return the answers to the whole batch if the accepted rows failed together."""
        rows = Rows()
        for _ in self.places:
            rows.add(*failed_row(code, message))
        return self.complete(rows)

    def placed(self, samples: Sequence[Sample]) -> list[Sample]:
        """Return samples that are about a position of the batch."""
        return [self._placed(sample) for sample in samples] if self.refused else list(samples)

    def _placed(self, sample: Sample) -> Sample:
        return sample if sample.index is None else replace(sample, index=self.places[sample.index])


def accept(predict: Predict, bodies: Sequence[Body], load: Load) -> Accepted:
    """Read the rows of a batch, and set aside those that can't be read."""
    for row in predict.rows:
        if row.infer is not None:
            break
    else:
        data = decode_rows(predict.rows, bodies, decode=load.decode_input_request)
        return Accepted(predict, list(bodies), data, [None] * len(data), list(range(len(data))))
    found = Accepted(predict)
    rows: list[Row] = []
    at = 0
    for index, row in enumerate(predict.rows):
        own = bodies[at : at + len(row.parts)]
        at += len(row.parts)
        try:
            infer, value = _read(row, own, load)
        except BadRequest as error:
            found.refused[index] = failed_row(400, error.message)
            continue
        rows.append(row)
        found.bodies += own
        found.data.append(value)
        found.infers.append(infer)
        found.places.append(index)
    if found.refused:
        found.predict = replace(predict, rows=tuple(rows))
    return found


def _read(row: Row, bodies: Sequence[Body], load: Load) -> tuple[Infer | None, dict[str, Any]]:
    infer: Infer | None = row.infer
    if infer is not None and infer.whole and bodies:
        whole = read_whole(bodies[0], load.signature, load.model_name)
        infer, bodies = whole if whole is not None else (None, bodies)
    if infer is None or not row.parts:  # the rows of a continuous batch that go on have no parts
        return infer, decode_rows([row], bodies, decode=load.decode_input_request)[0]
    return infer, tensor_row(infer, bodies, enveloped=bool(load.envelope))
