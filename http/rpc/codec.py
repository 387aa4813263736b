"""RpcCodec: the interface of a message format for predictions. It knows nothing of queues, streams and statuses."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol, TypeAlias

import msgspec

from ...core.oip.region_tensors import RegionTensors
from ...core.payload import Body, Payload, Reply
from .method import OpenCall
from .status import Status, Words


class Asked(msgspec.Struct, frozen=True):
    """A request that a message makes: a prediction of `payload` by a model ("" if it names none).

    `id` is what the answer repeats for the client: the sequence, or the request's id. `detail` is the codec's own.
    `tensors` are those that lie in shared memory, which whoever submits the payload has to release. `steps` are those
    that finish the payload's parts, which some messages take long for.
    """

    model: str
    version: str | None
    payload: Payload
    id: str = ""
    detail: Any = None
    tensors: RegionTensors | None = None
    steps: Any = None


Steps: TypeAlias = "Generator[None, None, None]"


class RpcCodec(Protocol):
    """A message format. One object serves all calls of a method, so it must keep no state of a call.

    `words` says whose clients read the text of an error within a message.
    """

    words: Words

    def locate(self, beginning: memoryview) -> tuple[str, str | None] | None:
        """Return the model and version that a message names, if its beginning says so already."""
        ...

    def tensor_at(self, beginning: memoryview) -> int:
        """Return where the bytes of a message's first tensor begin, 0 if its beginning does not say so."""
        ...

    def decode(self, call: OpenCall, data: Body) -> Asked:
        """Return what a message asks for. Raises BadRequest."""
        ...

    def check(self, asked: Asked) -> Steps | None:
        """Return the steps of what is still to be read or checked, of a message that it takes long for. They raise
        BadRequest.

        Each step is taken in a turn of the loop.
        """
        ...

    def encode(self, reply: Reply, asked: Asked, *, last: bool) -> tuple[Body, ...]:
        """Return the message of a model's reply, or of a piece of a streamed one, which is not the `last`."""
        ...

    def error(self, status: Status, asked: Asked | None) -> tuple[Body, ...]:
        """Return the message that tells of one failed request of several in a stream."""
        ...
