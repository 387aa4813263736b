"""How a worker waits for a frame: by poll, as who blocks in recv() on a Unix socket is woken by the other end's reads."""

from __future__ import annotations

import socket

from torchserve.core.backend.stream import MAX_FRAME, news_of, receive
from torchserve.core.wire.frames import FrameReader, encode
from torchserve.core.wire.messages import Predict, ToBackend


class Halves:
    """A stream that brings a frame in two pieces and then ends, and its news; `order` is what was asked of the two."""

    def __init__(self) -> None:
        self.order: list[str] = []
        frame = b"".join(encode(Predict(3, ())))
        self._pieces = [frame[:5], frame[5:], b""]

    def recv_into(self, buffer: memoryview) -> int:
        self.order.append("recv")
        piece = self._pieces.pop(0)
        buffer[: len(piece)] = piece
        return len(piece)

    def poll(self) -> list[tuple[int, int]]:
        self.order.append("poll")
        return []


def test_a_frame_is_waited_for_by_poll_and_the_rest_of_it_read_at_once() -> None:
    halves = Halves()
    reader: FrameReader[ToBackend] = FrameReader(ToBackend, MAX_FRAME)
    frame = receive(halves, reader, halves)  # type: ignore[arg-type]
    assert frame is not None
    assert frame.message == Predict(3, ())
    assert receive(halves, reader, halves) is None  # type: ignore[arg-type]
    assert halves.order == ["poll", "recv", "recv", "poll", "recv"]


def test_a_socket_has_news_and_a_stream_that_may_hold_bytes_has_none() -> None:
    one, other = socket.socketpair()
    with one, other:
        news = news_of(one)
        assert news is not None
        assert news.poll(0) == []
        other.sendall(b"x")
        assert [descriptor for descriptor, _ in news.poll()] == [one.fileno()]
    assert news_of(Halves()) is None  # type: ignore[arg-type]
