"""MessageWriter: a ResponseWriter's answers as messages of a WebSocket, plain ones or those of torchserve.v1.

Plain: an answer is one message. Of a streamed one each piece is a message, and an empty message is its end. An error is
TorchServe's JSON, as text. A program that talks to one model knows which of these to expect.

torchserve.v1, for programs that must not guess: what is text is the server's JSON, and what is binary is the model's.
An answer begins with a text `{"id", "code", "contentType", "stream", "headers"}`; then comes its body in one binary
message or, of a streamed answer, in any number of them, and a text `{"end": true}`, with `error` if the answer broke
off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson

from ....core.payload import Body, Reply
from ...message.request import Head, media_type
from ...message.unsent_answers import UnsentAnswers
from .frames import BINARY, TEXT, frame_head, is_text

_BROKEN_OFF = {
    "code": 500,
    "type": "InternalServerException",
    "message": "The answer broke off: the model failed after it had begun. The server's log says why.",
}


class MessageWriter:
    """The writer of the answer to one message of the type `kind`. `ended` is awaited until all of it was handed over.

    `ends_sequence` says whether a whole answer has the header by which a handler ends its sequence.
    """

    __slots__ = ("_done", "_end_header", "_enveloped", "_kind", "_unsent", "ends_sequence", "until_taken")

    def __init__(self, unsent: UnsentAnswers, kind: int, end_header: str, *, enveloped: bool) -> None:
        self._unsent = unsent
        self._kind = kind
        self._end_header = end_header.lower()
        self._enveloped = enveloped
        self._done = asyncio.Event()
        self.ends_sequence = False
        self.until_taken = unsent.until_taken

    def answer(self, head: Head, reply: Reply, request_id: str, *, unread: bool) -> None:
        """Write a whole answer."""
        if self._enveloped:
            self._json(_described(reply, request_id, stream=False))
            self._send(BINARY, reply.body)
        else:
            self._kind = self._kind_of(reply)
            self._plain(reply.body)
        self.ends_sequence = any(
            name.lower() == self._end_header and value.lower() == "true" for name, value in reply.headers
        )
        self._end()

    def begin(self, head: Head, reply: Reply, request_id: str) -> None:
        """Write what a streamed answer begins with, and its first piece."""
        if self._enveloped:
            self._json(_described(reply, request_id, stream=True))
        else:
            self._kind = self._kind_of(reply)
        self.piece(head, reply.body)

    def piece(self, head: Head, body: Body) -> None:
        """Write a piece of a streamed answer, nothing for an empty one."""
        if len(body) and self._enveloped:
            self._send(BINARY, body)
        elif len(body):
            self._plain(body)

    def end(self, head: Head, body: Body) -> None:
        """Write the last piece of a streamed answer, and its end."""
        self.piece(head, body)
        if self._enveloped:
            self._json({"end": True})
        else:
            self._send(self._kind, b"")
        self._end()

    def break_off(self) -> None:
        """Write that the answer has no end."""
        self._json({"end": True, "error": _BROKEN_OFF} if self._enveloped else _BROKEN_OFF)
        self._end()

    @property
    def full(self) -> bool:
        return self._unsent.full

    async def ended(self) -> None:
        await self._done.wait()

    def _end(self) -> None:
        self._unsent.end_hold()
        self._done.set()

    def _kind_of(self, reply: Reply) -> int:
        """Return TEXT or BINARY by the content type of an answer; without one it is as the request was."""
        media = media_type(_content_type(reply))
        if not media:
            return self._kind
        text = media.startswith("text/") or media.endswith("+json") or media == "application/json"
        return TEXT if text else BINARY

    def _plain(self, body: Body) -> None:
        self._send(TEXT if self._kind == TEXT and is_text(body) else BINARY, body)

    def _json(self, value: object) -> None:
        self._send(TEXT, orjson.dumps(value))

    def _send(self, opcode: int, body: Body) -> None:
        head = frame_head(opcode, len(body))
        self._unsent.write((head, body) if len(body) else (head,))


class NoAnswer:
    """A writer of an answer that nobody is waiting for."""

    full = False

    def answer(self, head: Head, reply: Reply, request_id: str, *, unread: bool) -> None: ...
    def begin(self, head: Head, reply: Reply, request_id: str) -> None: ...
    def piece(self, head: Head, body: Body) -> None: ...
    def end(self, head: Head, body: Body) -> None: ...
    def break_off(self) -> None: ...
    def until_taken(self, remaining: Callable[[], float], go_on: Callable[[], None]) -> None: ...


def _content_type(reply: Reply) -> str:
    return reply.content_type or next((value for name, value in reply.headers if name.lower() == "content-type"), "")


def _described(reply: Reply, request_id: str, *, stream: bool) -> dict[str, object]:
    return {
        "id": request_id,
        "code": reply.status,
        "contentType": _content_type(reply),
        "stream": stream,
        "headers": dict(reply.headers),
    }
