"""Codec: the interface of a wire format for predictions. A codec knows nothing of queues, batches and connections.

A request is read in two steps. `read_head` finds model, version, deadline and priority, and keeps in `detail` whatever
else the codec needs of the head. It is called once for a head that comes again on a connection, as most heads do.
`decode` is called for the body of each request.

An answer is a Reply (status, headers, body), which http/message/reply.py writes as HTTP. A codec that frames the pieces
of a streamed answer does it in `encode`; HTTP's chunks are put around the result.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from ....core.oip.region_tensors import RegionTensors
from ....core.payload import Body, Payload, Reply
from ...message.limits import Limits
from ...message.request import Head

# The model that a request names ("" if none), the payload for the dataplane, and the tensors that are in shared memory,
# of a request that has any.
Decoded: TypeAlias = "tuple[str, Payload] | tuple[str, Payload, RegionTensors]"
# Steps that decode a body which would hold the event loop for long, each taken in a turn of the loop.
Steps: TypeAlias = "Generator[None, None, Decoded]"


@dataclass(frozen=True, slots=True)
class HeadRead:
    """The result of `Codec.read_head`.

    `model` is "" if the head names none: then the body may, and else the only model that was loaded at start is meant.
    `timeout` is the number of seconds in which the client needs its answer, or None. A lower priority goes first. An
    answer is compressed by `coding` if that is not "". With `of_workflow`, `model` is a workflow.
    """

    model: str
    version: str | None
    timeout: float | None = None
    priority: int = 0
    detail: Any = None
    coding: str = ""
    of_workflow: bool = False


class Codec(Protocol):
    """A wire format. One object serves all requests of a route, so it must keep no state of a request."""

    def read_head(
        self, head: Head, fields: Mapping[str, str], params: Mapping[str, str], *, check_json: bool
    ) -> HeadRead:
        """Read a head. Raises ServeError, which is then answered.

        `params` are the path's parameters, not decoded; `fields` are the headers under lower-case names. With
        `check_json` a body of JSON is to be checked (decode_input_request).
        """
        ...

    def decode(self, read: HeadRead, body: Body, request_id: str, limits: Limits) -> Decoded | Steps:
        """Return the model that is named, and the payload that a whole body makes; or the steps to that.

        Raises BadRequest, as steps do.
        """
        ...

    @property
    def encode(self) -> Callable[[Reply], Reply] | None:
        """The function that returns what is sent for a model's reply, or for one piece of a streamed one; None if that
        is what is sent.
        """
        ...

    def error(self, error: BaseException) -> Reply:
        """Return the answer to a request that ended with `error`."""
        ...

    def broken_off(self, error: BaseException) -> bytes | None:
        """Return the last piece of a streamed answer that ended with `error`, None if its end is to be missing."""
        ...
