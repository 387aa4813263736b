"""What a request carries and what comes back, whatever its front door. Bodies are buffers, never copied here.

Structs, as each request makes several: a frozen dataclass takes five times as long to make.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

Body: TypeAlias = "bytes | bytearray | memoryview"


class Part(msgspec.Struct, frozen=True):
    """One named value of a request: the raw body is the part named `body`; a multipart field has its own name.

    `content_type` decides in the backend what the handler sees: `application/json` is parsed, `text/*` becomes str,
    anything else ("" included) a bytearray.
    """

    name: str
    content_type: str
    body: Body


class Payload(msgspec.Struct, frozen=True):
    """One request: its parts, and the headers the handler may ask its context for.

    `timeout` is the seconds in which its client needs the answer; of two `priority`s the lower is served first.
    """

    request_id: str
    parts: tuple[Part, ...]
    headers: dict[str, str] = {}
    timeout: float | None = None
    priority: int = 0


class Reply(msgspec.Struct, frozen=True):
    """The answer to one request, or one chunk of a streamed answer.

    `content_type` and `headers` are the handler's own; None and empty when it set none.
    """

    body: Body
    status: int = 200
    phrase: str = ""
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


class Scheduled(msgspec.Struct, frozen=True):
    """How a request came to be answered: the seconds that it waited, and the batch that it ran in.

    `handler` is the handler's own time for that batch, in s; None while it is not known.
    """

    queued: float
    batch_size: int
    cause: str
    worker: str
    device: str
    handler: float | None = None
