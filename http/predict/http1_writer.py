"""Http1Writer: a ResponseWriter's answers as HTTP/1.1, for every protocol that reads it."""

from __future__ import annotations

from abc import abstractmethod

from ...core.payload import Body, Reply
from ..app_context import AppContext
from ..message.reply import BODILESS, DefaultHeaders, reply_head, stream_head
from ..message.request import Head
from ..message.unsent_answers import COPY_UNDER

_JOIN_UNDER = 4096  # bytes


class Http1Writer:
    """The framing of answers: heads, chunks, and whether the connection outlives an answer.

    A connection inherits from it, and provides `context`, which is what every route may use, `send` and `more`. `send`
    is called with `last` exactly once
    for each request; then `keep` says whether the connection may be used again. A streamed answer that breaks off ends
    with no bytes and without `keep`, so that the client sees its end missing.
    """

    __slots__ = ()

    context: AppContext

    @property
    @abstractmethod
    def more(self) -> bool:
        """Whether another request has arrived behind this one."""

    @abstractmethod
    def send(self, buffers: tuple[Body, ...], *, last: bool, keep: bool) -> None:
        """Write a piece of an answer."""

    def send_chunk(self, chunk: bytes) -> None:
        """Write a small piece of an answer that goes on, as `send` does; a connection may do it faster."""
        self.send((chunk,), last=False, keep=True)

    def answer(self, head: Head, reply: Reply, request_id: str, *, unread: bool) -> None:
        """Write a whole answer. With `unread` the body may still be arriving, so the connection ends then."""
        context, body = self.context, reply.body
        keep = head.keep_alive and not unread and not (context.draining and not self.more)
        plain = reply.status == 200 and not reply.headers and not reply.content_type and not reply.phrase
        if plain and len(body) < COPY_UNDER and head.method != "HEAD":  # as nearly all are: one piece, by one format
            headers = context.default_headers
            whole = headers.whole_keep if keep else headers.whole_close
            self.send((whole % (request_id.encode(), len(body), body),), last=True, keep=keep)
            return
        self.send(answer_buffers(reply, request_id, head, context.default_headers, keep=keep), last=True, keep=keep)

    def begin(self, head: Head, reply: Reply, request_id: str) -> None:
        """Write the head of a streamed answer, and its first piece."""
        start = stream_head(
            reply, request_id, keep=self._keeps_stream(head), chunked=head.http11,
            default_headers=self.context.default_headers,
        )  # fmt: skip
        self.send((start, *self._framed(head, reply.body)), last=False, keep=True)

    def piece(self, head: Head, body: Body) -> None:
        """Write a piece of a streamed answer; an empty one is left out, as an empty chunk would end the answer."""
        size = len(body)
        if 0 < size < _JOIN_UNDER and type(body) is bytes and head.version != "1.0":  # a token: as few calls as may be
            self.send_chunk(b"%x\r\n%b\r\n" % (size, body))
        elif size:
            self.send(self._framed(head, body), last=False, keep=True)

    def end(self, head: Head, body: Body) -> None:
        """Write the last piece of a streamed answer, which may be empty."""
        tail = (*self._framed(head, body), b"0\r\n\r\n") if head.http11 else self._framed(head, body)
        self.send(tail, last=True, keep=self._keeps_stream(head))

    def break_off(self) -> None:
        """End a streamed answer that has no end."""
        self.send((), last=True, keep=False)

    def _keeps_stream(self, head: Head) -> bool:
        """Return whether the connection outlives a streamed answer. HTTP/1.0 has no chunks: closing ends a stream."""
        return head.keep_alive and head.http11 and not (self.context.draining and not self.more)

    def _framed(self, head: Head, body: Body) -> tuple[Body, ...]:
        if not len(body):
            return ()
        if not head.http11:
            return (body,)
        if len(body) < _JOIN_UNDER and isinstance(body, bytes):  # one buffer takes a third of the time of three
            return (b"%x\r\n%b\r\n" % (len(body), body),)
        return (b"%x\r\n" % len(body), body, b"\r\n")


def answer_buffers(
    reply: Reply, request_id: str, head: Head, default_headers: DefaultHeaders, *, keep: bool
) -> tuple[Body, ...]:
    """Return head and body of a whole answer.

    A departure: HEAD gets no body, which a client would take for the next answer.
    """
    start = reply_head(reply, request_id, keep=keep, default_headers=default_headers)
    if head.method == "HEAD" or reply.status in BODILESS:
        return (start,)
    return (start, reply.body)
