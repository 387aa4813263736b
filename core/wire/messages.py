"""The messages between front and backend: frozen and typed. Bodies travel beside a message, in the frame, uncopied.

    front ──► backend    Load                    once, first
    front ◄── backend    Initialized?, Loaded    once, after Load
    front ◄── backend    Notes*                  at any time after Loaded
    front ──► backend    Predict                 for each batch
    front ──► backend    Cancel?                 for a batch of an asynchronous handler, before its Answer has come
    front ◄── backend    Partial*, then Answer   for each Predict, with its batch number
    front ◄── backend    Pieces*                 in place of further Partials, of many batches at a time
    front ◄── backend    EngineReport*           of a handler that generates text, at any time after Loaded
    front ◄── backend    EngineMetrics?          at any time after Loaded
    front ◄── backend    Call, then CallCancel?  for what a handler asks of another model while its batch runs
    front ──► backend    Called                  for each Call, with its number, whether it was cancelled or not
    front ──► backend    Profile(begin), then Profile(end)?    at any time after Loaded; read between two batches
    front ◄── backend    Profiled*               for each Profile that begins one, with its number, until the last piece

The end of the stream is the order to stop. Only scalars, strings and their containers occur in messages.
"""

from __future__ import annotations

import msgspec

from ..oip.signature import Signature
from ..payload import Infer

MOST_PROFILE = 1 << 26  # bytes of a profile, compressed
CONTINUES_HEADER = "ts_stream_next"  # the response header that is "true" while a request of a continuous batch goes on


class PartHead(msgspec.Struct, frozen=True, array_like=True):
    """A part of a request without its body. A frame's bodies are in the order of the rows' parts."""

    name: str
    content_type: str


class Row(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A request of a batch. With `infer` its parts are tensors."""

    request_id: str
    parts: tuple[PartHead, ...]
    headers: dict[str, str]
    infer: Infer | None = None


class Metric(msgspec.Struct, frozen=True, array_like=True):
    """A model metric that the metrics configuration declares. `kind` is COUNTER, GAUGE or HISTOGRAM."""

    name: str
    unit: str
    kind: str
    dimensions: tuple[str, ...]


class Load(msgspec.Struct, frozen=True, tag="load"):
    """An order to load a model.

    `gpu_id` is the index that the handler uses among the devices it can see; None means CPU. `metrics` are those that a
    handler finds with get_metric. `max_response_size` is the bytes that a result may have. With `errors_in_response` a
    failed answer's message has the traceback behind it. If `continuous`, rows without parts go on with what they began.
    `environment` is set before the handler is loaded. If `asynchronous`, the front sends further batches, of one row
    each, before the first is answered. With `literal_non_finite`, NaN and the infinities in a JSON answer are written
    as TorchServe writes them: by words that are not JSON. Unless `isolate_within` is 0, the requests of a batch that
    fails are run again, each alone: those whose turn comes within so many seconds from the batch's begin. `signature`
    is what the model's yaml says of its tensors. With `times_hooks` each answer has a Timing. `files_stay` says that
    the model's folder is the server's own, whose files nobody changes while the worker lives.
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
    isolate_within: float = 0.0
    continuous: bool = False
    environment: dict[str, str] = {}
    literal_non_finite: bool = False
    signature: Signature | None = None
    times_hooks: bool = False
    files_stay: bool = False


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An exception that a handler raised, for its author: `file` and `line` in the model's own code, or "" and 0."""

    kind: str
    message: str
    file: str = ""
    line: int = 0
    traceback: str = ""


class Initialized(msgspec.Struct, frozen=True, tag="initialized"):
    """The handler has loaded its model. What the server itself does with it is next: measuring and warming up.

    It is not sent by handlers that the server leaves as they are.
    """


class Capacity(msgspec.Struct, frozen=True, array_like=True):
    """The bounds of a language model's engine, in tokens: what a sequence may have, what the KV memory holds, in blocks
    of `block`, and what one step computes at most. 0: unknown.
    """

    context: int
    memory: int = 0
    block: int = 1
    step: int = 0


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """The outcome of Load: code 200, or 507 for out of memory, or another one.

    If the model is not loaded, `message` says why in one line, and `failure` is what was raised. `notes` are what was
    chosen while it loaded, by subject, for people to read. `signature` is what the loaded model tells of its tensors.
    `engine` is there if the handler generates text.
    """

    code: int
    message: str
    failure: Failure | None = None
    notes: dict[str, str] = {}
    signature: Signature | None = None
    engine: Capacity | None = None


class Notes(msgspec.Struct, frozen=True, tag="notes"):
    """The notes of Loaded as they are now: what makes the model faster may be chosen while it serves."""

    notes: dict[str, str]


class Predict(msgspec.Struct, frozen=True, tag="predict", omit_defaults=True):
    """An order to run one batch. The frame's bodies are those of every part of every row, in order.

    `free` are the offsets of results in shared memory that the front has read to the end. `trace` is the traceparent of
    what happens in the worker, if a request of the batch is recorded: then the answer has a Timing.
    """

    batch: int
    rows: tuple[Row, ...]
    free: tuple[int, ...] = ()
    trace: str = ""


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """An order to end a batch early, as nobody waits for its answers any more. Its Answer is sent all the same."""

    batch: int


class Result(msgspec.Struct, frozen=True, array_like=True):
    """The result of one request; its body is the frame's body at the same position.

    If `error` is not empty, this request alone failed with `status`: the error is its answer, and its body is empty.
    """

    status: int
    phrase: str
    content_type: str | None
    headers: tuple[tuple[str, str], ...]
    error: str = ""


DEFAULT_RESULT = Result(200, "", None, ())
"""The result of nearly every request: a body, with nothing else set by the handler."""


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """A metric value that a handler emitted. `kind` is COUNTER, GAUGE or HISTOGRAM; `index` is the row it is about."""

    name: str
    unit: str
    kind: str
    value: float
    dimensions: tuple[tuple[str, str], ...]
    index: int | None = None


class Partial(msgspec.Struct, frozen=True, tag="partial"):
    """A chunk of the answer for every request of the batch, ahead of the Answer. Without `results`, all are
    DEFAULT_RESULT.
    """

    batch: int
    results: tuple[Result, ...]


class Pieces(msgspec.Struct, frozen=True, tag="pieces"):
    """A further chunk of the answers of several batches of one request each; the frame's bodies are in their order.

    Each batch has had a Partial, whose result is that of the further chunk, too. An engine's step has a token for each
    of its requests: these go to the front as one frame, which is read at once.
    """

    batches: tuple[int, ...]


class Timing(msgspec.Struct, frozen=True, array_like=True):
    """The times of a batch in its worker, in seconds from when the worker had it: when it was through, when the handler
    began and ended, and the same of each of the handler's hooks, by name.
    """

    total: float
    handler: tuple[float, float]
    hooks: tuple[tuple[str, float, float], ...] = ()


class Answer(msgspec.Struct, frozen=True, tag="answer", omit_defaults=True):
    """The end of a batch.

    With code 200 `results` has one entry per row, or none if every entry would be DEFAULT_RESULT. With any other code
    the whole batch failed: `message` is the answer to each of its requests, and `results` is empty. `handler_ms` is how
    long the handler took.

    `failure` is also there if a request of the batch failed alone. An `untypical` batch took longer than others of its
    size will: its requests were run again, each alone, or its handler has tried something. `fault` says what has killed
    the process's device context: it can answer nothing any more. `timing` is there for a batch that is recorded.
    """

    batch: int
    code: int
    message: str
    results: tuple[Result, ...]
    handler_ms: float
    samples: tuple[Sample, ...] = ()
    failure: Failure | None = None
    untypical: bool = False
    fault: str = ""
    timing: Timing | None = None


class EngineReport(msgspec.Struct, frozen=True, tag="engine"):
    """The load of a language model's engine, and what has happened since its last report.

    The fields are those of core/generation/monitored_engine.py.
    """

    running: int
    waiting: int
    memory: float
    progress: tuple[tuple[str, int, int], ...] = ()
    gaps: tuple[float, ...] = ()
    ended: tuple[str, ...] = ()
    prompt_tokens: int = 0
    generation_tokens: int = 0
    prefix_queries: int = 0
    prefix_hits: int = 0


class EngineMetrics(msgspec.Struct, frozen=True, tag="engine_metrics"):
    """The metrics of an engine of the worker's own, as Prometheus text, "" if there are none any more."""

    text: str


class Call(msgspec.Struct, frozen=True, tag="call", omit_defaults=True):
    """A request of a handler to another model. The frame's bodies are those of its parts.

    It is made for the request at `row` of the batch, or for all of them if that is -1: whose deadline, priority and
    headers it has. `version` is "" for whichever the model's requests go to; `timeout` is in seconds, 0 for none.
    """

    call: int
    batch: int
    row: int
    model: str
    parts: tuple[PartHead, ...]
    version: str = ""
    timeout: float = 0.0


class CallCancel(msgspec.Struct, frozen=True, tag="call_cancel"):
    """An order to end a call, as the handler waits for it no more. Its Called is sent all the same."""

    call: int


class Called(msgspec.Struct, frozen=True, tag="called", omit_defaults=True):
    """The outcome of a Call: its body is the frame's only one, or `error` says why there is none."""

    call: int
    status: int
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    error: str = ""


class Profile(msgspec.Struct, frozen=True, tag="profile"):
    """An order to begin the profile of this number or, unless `begin`, to end it. There is one at a time."""

    number: int
    begin: bool


class Profiled(msgspec.Struct, frozen=True, tag="profiled", omit_defaults=True):
    """A piece of a profile's file, the frame's body, in order. The `last` has none, and a `note` of what was recorded.

    If there is no profile, `error` says why. A worker may end a profile before it is told to.
    """

    number: int
    last: bool = False
    note: str = ""
    error: str = ""


ToBackend = Load | Predict | Cancel | Called | Profile
_OfBatches = Partial | Pieces | Answer | Call | CallCancel
ToFront = Initialized | Loaded | Notes | _OfBatches | EngineReport | EngineMetrics | Profiled
