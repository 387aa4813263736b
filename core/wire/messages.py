"""The messages between front and backend: frozen and typed. Bodies travel beside a message, in the frame, uncopied.

Front to backend: Load once, then Predict. Backend to front: Loaded, then per Predict any number of Partial and one
Answer. The end of the stream is the order to stop. Only scalars, strings and their containers occur here.
"""

from __future__ import annotations

import msgspec

STEPS = "ts_stream_next"  # a response header that is "true" while a request of a continuous batch goes on


class PartHead(msgspec.Struct, frozen=True, array_like=True):
    """A part without its body; the frame's bodies are in the order of the rows' parts."""

    name: str
    content_type: str


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One request of a batch."""

    request_id: str
    parts: tuple[PartHead, ...]
    headers: dict[str, str]


class Metric(msgspec.Struct, frozen=True, array_like=True):
    """A model metric of the metrics configuration. `kind` is COUNTER, GAUGE or HISTOGRAM."""

    name: str
    unit: str
    kind: str
    dimensions: tuple[str, ...]


class Load(msgspec.Struct, frozen=True, tag="load"):
    """Load this model. `gpu_id` is the index the handler uses among the devices it can see; None means CPU.

    `metrics` are the configured ones, which a handler finds with get_metric; `max_response_size` is bytes a result.
    With `errors_in_response` a failed answer's message has the traceback behind it.
    If `continuous` rows without parts go on with what they began. `environment` is set before the handler is loaded.
    With `literal_non_finite` NaN and the infinities in a JSON answer are words that are no JSON, as TorchServe's.
    If `asynchronous` the front sends further batches, of one row each, before the first is answered.
    """

    model_name: str
    model_version: str
    model_dir: str
    handler: str
    batch_size: int
    gpu_id: int | None = None
    envelope: str | None = None
    limit_max_image_pixels: bool = True
    decode_input_request: bool = True
    max_response_size: int = 6_553_500
    metrics: tuple[Metric, ...] = ()
    asynchronous: bool = False
    errors_in_response: bool = False
    continuous: bool = False
    environment: dict[str, str] = {}
    literal_non_finite: bool = False


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """What a handler raised, for its author. `file` and `line`: where in the model's own code, or "" and 0."""

    kind: str
    message: str
    file: str = ""
    line: int = 0
    traceback: str = ""


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """The model is loaded (200), or not: `message` is one line, `failure` what was raised; 507 is out of memory.

    `notes` are what was chosen while it loaded, by subject, for people to read.
    """

    code: int
    message: str
    failure: Failure | None = None
    notes: dict[str, str] = {}


class Predict(msgspec.Struct, frozen=True, tag="predict", omit_defaults=True):
    """Run one batch. Bodies: every part of every row, in order. `free` are the offsets of results in shared memory that
    nobody reads any more.
    """

    batch: int
    rows: tuple[Row, ...]
    free: tuple[int, ...] = ()


class Result(msgspec.Struct, frozen=True, array_like=True):
    """One request's result; its body is the frame's body at the same position.

    With `error` this request alone failed with `status`, the error is what it is answered, and its body is empty.
    """

    status: int
    phrase: str
    content_type: str | None
    headers: tuple[tuple[str, str], ...]
    error: str = ""


PLAIN = Result(200, "", None, ())
"""What nearly all are: a body, of which the handler has set nothing else."""


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One metric value emitted by a handler. `kind` is COUNTER, GAUGE or HISTOGRAM; `index` is the request it names."""

    name: str
    unit: str
    kind: str
    value: float
    dimensions: tuple[tuple[str, str], ...]
    index: int | None = None


class Partial(msgspec.Struct, frozen=True, tag="partial"):
    """A chunk for every request of the batch, ahead of the Answer."""

    batch: int
    results: tuple[Result, ...]


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """The end of a batch. With code 200 `results` has one entry per row, or none if each of them would be PLAIN;
    otherwise the whole batch failed with `message`, which every request of it is answered, and `results` is empty.
    """

    batch: int
    code: int
    message: str
    results: tuple[Result, ...]
    handler_ms: float
    samples: tuple[Sample, ...] = ()
    failure: Failure | None = None


ToBackend = Load | Predict
ToFront = Loaded | Partial | Answer
