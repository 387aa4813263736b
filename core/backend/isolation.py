"""Isolation: one request of a batch fails, and the others are answered.

There are two ways. A handler returns an exception in the place of a request's result; `failed_row` is that request's
answer. Or the handler raises, which fails the whole batch; with isolateErrors in model-config.yaml, by which its author
permits repetition, the requests are then run once more, each alone (`run_alone`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from ..payload import Body
from ..wire.messages import DEFAULT_RESULT, Answer, Failure, Predict, Result, Row, Sample

_NO_TEXT = "Prediction failed"  # a Result with an empty error would be a success


@dataclass(slots=True)
class Rows:
    """The answers of a batch, request by request. `failure` describes the first request that failed, for the handler's
    author.
    """

    results: list[Result] = field(default_factory=list[Result])
    bodies: list[Body] = field(default_factory=list[Body])
    samples: list[Sample] = field(default_factory=list[Sample])
    failure: Failure | None = None
    plain: bool = True  # whether all results are DEFAULT_RESULT

    def add(self, result: Result, body: Body, failure: Failure | None = None) -> None:
        self.results.append(result)
        if result is not DEFAULT_RESULT:
            self.plain = False
        self.bodies.append(body)
        self.failure = self.failure or failure


def failed_row(code: int, message: str) -> tuple[Result, Body]:
    """Return the result and body of a request that fails alone. With 200 the body is TorchServe's for such an error."""
    if code == 200:
        return DEFAULT_RESULT, b"error"
    return Result(code, "", None, (), message or _NO_TEXT), b""


def repeatable(bodies: Sequence[Body]) -> list[Body]:
    """Return the bodies such that handlers get copies of them, since a body that is handed over may be changed."""
    return [memoryview(body) if isinstance(body, bytearray) else body for body in bodies]


def run_alone(
    predict: Callable[[Predict, Sequence[Body]], tuple[Answer, list[Body]]],
    batch: Predict,
    bodies: Sequence[Body],
    refused: tuple[Result, Body],
    until: float,
) -> Rows:
    """Run each request of a failed batch by itself with `predict`.

    A request whose turn comes after `until`, by `time.perf_counter`, gets `refused`.
    """
    rows = Rows()
    at = 0
    for index, row in enumerate(batch.rows):
        own = bodies[at : at + len(row.parts)]
        at += len(row.parts)
        if time.perf_counter() >= until:
            rows.add(*refused)
        else:
            _run_row(predict, batch.batch, row, own, index, rows)
    return rows


def _run_row(
    predict: Callable[[Predict, Sequence[Body]], tuple[Answer, list[Body]]],
    number: int,
    row: Row,
    bodies: Sequence[Body],
    index: int,
    rows: Rows,
) -> None:
    answer, encoded = predict(Predict(number, (row,)), bodies)
    rows.samples += [replace(each, index=index) if each.index == 0 else each for each in answer.samples]
    if answer.code == 200:
        rows.add(answer.results[0] if answer.results else DEFAULT_RESULT, encoded[0], answer.failure)
    else:
        rows.add(*failed_row(answer.code, answer.message), answer.failure)
