"""The request and the reply, independent of any front door. Bodies are buffers, which are never copied here.

They are msgspec Structs because each request makes several: a frozen dataclass takes five times as long to make.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

Body: TypeAlias = "bytes | bytearray | memoryview"


class Part(msgspec.Struct, frozen=True):
    """A named value of a request: the raw body is the part named `body`; a multipart field has its own name.

    `content_type` decides what the handler gets: `application/json` is parsed, `text/*` becomes str, anything else (""
    included) a bytearray.
    """

    name: str
    content_type: str
    body: Body


Parameters: TypeAlias = "dict[str, bool | int | float | str]"


class TensorHead(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A tensor of the Open Inference Protocol without its elements, which are the body of a part.

    They are raw bytes, or with `json` the JSON list that the client sent.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    json: bool = False
    parameters: Parameters = {}


class WantedOutput(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """An output that a client asks for: as raw bytes behind the JSON of the answer if `binary`, else in it."""

    name: str
    binary: bool = False
    parameters: Parameters = {}


class Infer(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A request of the Open Inference Protocol: what it says beside the elements of its tensors.

    The payload's parts are the elements of `inputs`, one by one. With `whole` its only part is a JSON document that the
    worker has yet to read, as it is long. Without `outputs` all are wanted, in binary form if `binary`.
    """

    inputs: tuple[TensorHead, ...] = ()
    outputs: tuple[WantedOutput, ...] = ()
    binary: bool = False
    id: str = ""
    parameters: Parameters = {}
    whole: bool = False


class Payload(msgspec.Struct, frozen=True):
    """A request: its parts, and the headers that the handler may ask its context for.

    `timeout` is the seconds within which the client needs the answer. A request of lower `priority` is served first.
    `infer` is there if the parts are tensors, and `trace`, a RequestTrace, if the request is recorded. `callers` are
    the models whose handlers have called one another so that it came to this request, the first one first.
    """

    request_id: str
    parts: tuple[Part, ...]
    headers: dict[str, str] = {}
    timeout: float | None = None
    priority: int = 0
    infer: Infer | None = None
    trace: Any = None
    callers: tuple[str, ...] = ()


class Reply(msgspec.Struct, frozen=True):
    """A reply to one request, or one chunk of a streamed reply.

    `content_type` and `headers` are the handler's own; None and empty if it set none.
    """

    body: Body
    status: int = 200
    phrase: str = ""
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


class Scheduled(msgspec.Struct, frozen=True):
    """An account of how a request was run: the seconds that it waited, and the batch that it ran in.

    `handler` is the handler's time for that batch in seconds, None while unknown.
    """

    queued: float
    batch_size: int
    cause: str
    worker: str
    device: str
    handler: float | None = None
