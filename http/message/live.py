"""LiveReply: an answer that goes on for as long as its client looks, whatever protocol carries it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ...core.payload import Body, Reply
from .request import Head


class Pieces(Protocol):
    """The part of a ResponseWriter that a streamed answer needs."""

    def begin(self, head: Head, reply: Reply, request_id: str) -> None: ...
    def piece(self, head: Head, body: Body) -> None: ...
    def end(self, head: Head, body: Body) -> None: ...


class Outlet:
    """The way to one client of a live answer.

    `behind` says whether the client has not taken all that was sent, `draining` whether its connection should end
    soon, and `drop` ends it at once. `ended` is called when the answer has ended.
    """

    __slots__ = ("_behind", "_draining", "_ended", "_head", "_writer", "drop", "over")

    def __init__(
        self,
        writer: Pieces,
        head: Head,
        *,
        behind: Callable[[], bool],
        drop: Callable[[], None],
        draining: Callable[[], bool] = lambda: False,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._writer = writer
        self._head = head
        self._behind = behind
        self._draining = draining
        self._ended = ended
        self.drop = drop
        self.over = False

    @property
    def behind(self) -> bool:
        return self._behind()

    @property
    def draining(self) -> bool:
        return self._draining()

    def begin(self, reply: Reply, request_id: str) -> None:
        self._writer.begin(self._head, reply, request_id)

    def send(self, body: bytes) -> None:
        if not self.over:
            self._writer.piece(self._head, body)

    def end(self) -> None:
        """End the answer: the client sees that it is whole."""
        if not self.over:
            self.over = True
            self._writer.end(self._head, b"")
            self._ended()


@dataclass(frozen=True, slots=True)
class LiveReply:
    """A live answer: `first` is its head and first piece.

    `join` is called once that was sent, and `leave`, perhaps more than once, when the client has gone or the answer has
    ended.
    """

    first: Reply
    join: Callable[[Outlet], None]
    leave: Callable[[], None]
