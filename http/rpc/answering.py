"""The exchanges of methods that don't predict: one answer to one message, by a function or a coroutine."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from ...core.payload import Body
from ..app_context import AppContext
from .method import OpenCall
from .protos.messages import Message
from .wire import BadMessage

# Answers a message with a message. Raises ServeError, RpcFailure.
Endpoint: TypeAlias = Callable[[AppContext, Any], Message | Awaitable[Message]]


class Answering:
    """The exchange of a call that an endpoint answers. What a coroutine has begun goes on when the client has gone."""

    __slots__ = ("_call", "_endpoint", "_request", "_task")

    def __init__(self, call: OpenCall, endpoint: Endpoint, request: Any) -> None:
        self._call = call
        self._endpoint = endpoint
        self._request = request
        self._task: asyncio.Task[None] | None = None

    def message(self, data: Body) -> None:
        """Answer the message."""
        answer = self._endpoint(self._call.context, parse(self._request, data))
        if inspect.isawaitable(answer):
            self._task = asyncio.ensure_future(self._wait(answer))
        else:
            self._answer(answer)

    async def _wait(self, answer: Awaitable[Message]) -> None:
        try:
            self._answer(await answer)
        except Exception as error:  # noqa: BLE001  (the client is owed a status, whatever broke)
            self._call.fail(error)

    def _answer(self, answer: Message) -> None:
        self._call.answer((answer.SerializeToString(),))

    def half_closed(self) -> None:
        """Go on."""

    def cancelled(self) -> None:
        """Go on: half a registration is worse than one that nobody reads of."""

    def writable(self) -> None:
        """Go on: there is one answer."""


def parse(kind: Any, data: Body) -> Any:
    """Return the message that these bytes are. Raises BadMessage."""
    from google.protobuf.message import DecodeError

    try:
        return kind.FromString(bytes(data))
    except DecodeError:
        raise BadMessage("protobuf can't read it") from None
