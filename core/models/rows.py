"""Requests of several rows: with batchDimension each row is a job of its own, so that it shares batches with others'.

`cut` makes a payload of each row, whose tensors are slices of the request's, and `RowJoin` one answer of the rows'
answers, in their order. The first row that fails fails the request, and the rows that are left are cancelled. A request
whose values can't be cut without being read, which are BYTES and long JSON, stays whole: its handler gets all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from ...scheduler.job import Sink
from ..errors import BadRequest, HandlerFailed, ServeError
from ..oip.infer_answer import InferAnswer, read_answer, reply_of
from ..oip.infer_request import Tensor
from ..oip.signature import Signature, rows_of
from ..payload import Infer, Payload, Reply, TensorHead


def rows_to_cut(payload: Payload, signature: Signature | None) -> int:
    """Return how many rows a checked request is cut into; 1 if it stays whole."""
    infer = payload.infer
    if infer is None or infer.whole or signature is None or not signature.batch_dimension:
        return 1
    if any(head.json or head.datatype == "BYTES" for head in infer.inputs):
        return 1
    return rows_of(infer)


def cut(payload: Payload, count: int) -> list[Payload]:
    """Return a payload for each of `count` rows. Its tensors have one row, and are views of the request's."""
    infer = payload.infer
    assert infer is not None
    heads = tuple([_row_head(head) for head in infer.inputs])
    views = [memoryview(part.body) for part in payload.parts]
    sizes = [len(view) // count for view in views]
    row = Infer(heads, infer.outputs, infer.binary, infer.id, infer.parameters)
    return [
        replace(
            payload,
            request_id=f"{payload.request_id}.{index}",
            parts=tuple(
                [
                    replace(part, body=view[size * index : size * (index + 1)])
                    for part, view, size in zip(payload.parts, views, sizes, strict=True)
                ]
            ),
            infer=row,
        )
        for index in range(count)
    ]


def check_count(count: int, most: int, model: str) -> None:
    """Raise BadRequest for more rows than a model's queue could ever hold."""
    if count > most:
        raise BadRequest(
            f"The request has {count} rows and model {model} queues at most {most} (job_queue_size): send fewer at"
            " once."
        )


class RowJoin:
    """The rows of one request, whose answers become one for `sink`.

    `cancel_all` is called when one has failed; the sinks of the others are then not called any more.
    """

    def __init__(self, sink: Sink, count: int, cancel_all: Callable[[], None]) -> None:
        self._sink = sink
        self._answers: list[Reply | None] = [None] * count
        self._missing = count
        self._cancel_all = cancel_all
        self.over = False
        self.sinks = [_RowSink(self, index) for index in range(count)]

    def done(self, index: int, item: object) -> None:
        """Take the answer of a row; the last one makes the answer of the request."""
        if self.over or not isinstance(item, Reply):
            return
        if item.status != 200:
            self._end(item)
            return
        self._answers[index] = item
        self._missing -= 1
        if not self._missing:
            try:
                answer = reply_of(joined([read_answer(each) for each in self._answers if each is not None]))
            except ServeError as error:
                self._fail(error)
            else:
                self._end(answer)

    def fail(self, index: int, error: Exception) -> None:
        """Fail the request with the error of a row."""
        if self.over:
            return
        self._fail(_of_row(error, index, len(self._answers)) if isinstance(error, ServeError) else error)

    def _end(self, reply: Reply) -> None:
        self.over = True
        if self._missing:
            self._cancel_all()
        self._sink.done(reply)

    def _fail(self, error: Exception) -> None:
        self.over = True
        self._cancel_all()
        self._sink.fail(error)


class _RowSink:
    """The sink of one row."""

    __slots__ = ("_index", "_join")

    def __init__(self, join: RowJoin, index: int) -> None:
        self._join = join
        self._index = index

    def chunk(self, item: object) -> None:
        """Fail the request: pieces of rows have no order among each other."""
        del item
        self._join.fail(self._index, HandlerFailed("A handler that streams can't serve batchDimension.", 500))

    def done(self, item: object) -> None:
        self._join.done(self._index, item)

    def fail(self, error: Exception) -> None:
        self._join.fail(self._index, error)


def _of_row(error: ServeError, index: int, count: int) -> ServeError:
    """Return a copy of a row's error that tells its number: other requests of its batch may have the same object."""
    made = type(error).__new__(type(error))
    made.__dict__.update(error.__dict__)
    made.message = f"Row {index} of {count}: {error.message}"
    made.args = (made.message,)
    return made


def joined(answers: Sequence[InferAnswer]) -> InferAnswer:
    """Return one answer of the rows' answers. Raises HandlerFailed if their outputs differ in more than their rows."""
    first = answers[0]
    outputs: list[Tensor] = []
    for at, output in enumerate(first.outputs):
        rows = [each.outputs[at] if at < len(each.outputs) else None for each in answers]
        for index, row in enumerate(rows):
            if row is None or _kind(row) != _kind(output) or not row.shape:
                raise HandlerFailed(
                    f"Row {index} of {len(answers)}: its output {output.name!r} can't be joined with that of row 0"
                    " (batchDimension): name, datatype and all dimensions but the first must be the same.",
                    500,
                )
        outputs.append(_joined(output, [row for row in rows if row is not None]))
    return InferAnswer(first.model, first.version, first.id, tuple(outputs), first.parameters)


def _joined(output: Tensor, rows: Sequence[Tensor]) -> Tensor:
    shape = (sum([row.shape[0] for row in rows]), *output.shape[1:])
    if output.json:  # flat lists of values, whose text is joined as it is
        texts = [bytes(row.data).strip()[1:-1].strip() for row in rows]
        data = b"[" + b",".join([text for text in texts if text]) + b"]"
    else:
        data = b"".join([row.data for row in rows])
    return Tensor(output.name, output.datatype, shape, data, output.json, output.parameters)


def _kind(tensor: Tensor) -> tuple[object, ...]:
    return tensor.name, tensor.datatype, tensor.shape[1:], tensor.json, len(tensor.shape)


def _row_head(head: TensorHead) -> TensorHead:
    return replace(head, shape=(1, *head.shape[1:]))
