"""Codec: what a wire format of predictions has to do. A format knows nothing of queues, batches and connections.

A request is read in two steps. Its head is read once for all requests that send the same bytes, as most clients do
again and again on a connection; that step finds model, version, deadline and priority, and keeps whatever else the
format wants to know of the head in `detail`. Its body is read for each request.

An answer is a Reply: status, headers and body, which http/message/reply.py writes as HTTP. A format that streams frames
each piece in `encode`, before HTTP's own chunks are put around it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from ....core.payload import Body, Payload, Reply
from ...message.limits import Limits
from ...message.request import Head

# The model that a request names, "" if none, and what the dataplane gets.
Decoded: TypeAlias = tuple[str, Payload]


@dataclass(frozen=True, slots=True)
class HeadRead:
    """What a codec reads in a head. `model` is "" where the body may name it, or nobody needs to.

    `timeout` is the seconds in which the client needs its answer, if it says; of two priorities the lower is first.
    """

    model: str
    version: str | None
    timeout: float | None = None
    priority: int = 0
    detail: Any = None


class Codec(Protocol):
    """One wire format. An object serves all requests of a route, so it keeps nothing of any of them."""

    def read_head(
        self, head: Head, fields: Mapping[str, str], params: Mapping[str, str], *, check_json: bool
    ) -> HeadRead:
        """Read a head whose route has these path parameters, not decoded; `fields` are its headers in lower case.

        Raises ServeError for what is wrong with it; that is the answer then.
        """
        ...

    def decode(self, read: HeadRead, body: Body, request_id: str, limits: Limits) -> Decoded:
        """Make a payload of a whole body. Raises BadRequest."""
        ...

    def decode_in_steps(
        self, read: HeadRead, body: Body, request_id: str, limits: Limits
    ) -> Generator[None, None, Decoded] | None:
        """Return the steps to `decode` of a body that would hold the event loop for long, else None.

        Each step takes a turn of the loop. They raise BadRequest.
        """
        ...

    def encode(self, reply: Reply) -> Reply:
        """Return what is sent for a model's reply, or for one piece of a streamed one."""
        ...

    def error(self, error: BaseException) -> Reply:
        """Return the answer to a request that ended with `error`."""
        ...
