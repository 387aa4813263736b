"""An asynchronous handler whose requests are cancelled, over a real socketpair, in this process."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from torchserve.core.backend.concurrent import converse
from torchserve.core.backend.service import Service
from torchserve.core.backend.stream import MAX_FRAME, receive, send
from torchserve.core.wire.frames import FrameReader, encode
from torchserve.core.wire.messages import (
    Answer,
    Cancel,
    Load,
    PartHead,
    Partial,
    Pieces,
    Predict,
    Row,
    ToBackend,
    ToFront,
)

HANDLER = """
    import asyncio

    class Handler:
        def initialize(self, context):
            self.going = {}

        async def handle(self, data, context):
            text = bytes(data[0]["body"]).decode()
            if text == "wait":
                context.send_partial([b"begun"], 200)
                try:
                    await asyncio.Event().wait()
                finally:
                    self.going["cleaned"] = True
            if text == "pieces":
                context.set_response_content_type(0, "x/y")
                for piece in (b"1", b"2", b"3"):
                    context.send_partial([piece], 200)
                context.set_response_content_type(0, "other")
                context.send_partial([b"4"], 200)
                context.send_partial([b"5" * 5000], 200)
                context.send_partial(["6"], 206)
                context.send_partial([b"7"], 200)
                context.send_partial([b"8"], 200)
                context.flush_partials()
            if text == "stubborn":
                context.send_partial([b"begun"], 200)
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    return ["done all the same"]
            return [str(self.going.get("cleaned", False))]
"""


class Front:
    """The front's end of a conversation with an asynchronous handler, which runs in a thread."""

    def __init__(self, folder: Any, *, yields: bool) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(30)
        self._reader: FrameReader[ToFront] = FrameReader(ToFront, MAX_FRAME)
        self.yields = yields
        service = Service(lambda buffers: send(theirs, buffers))
        assert service.load(Load("m", "1.0", str(folder), "svc.py", 1, asynchronous=True)).code == 200
        reader: FrameReader[ToBackend] = FrameReader(ToBackend, MAX_FRAME)
        loop = asyncio.new_event_loop()
        self._loop = loop
        talk = (theirs, reader, service, loop)
        self._thread = threading.Thread(target=converse, args=talk, kwargs={"yields": yields})
        self._thread.start()
        self._theirs = theirs

    def receive(self) -> ToFront:
        frame = receive(self.sock, self._reader)
        assert frame is not None
        return frame.message

    def tell(self, *messages: tuple[ToBackend, list[bytes]]) -> None:
        send(self.sock, [buffer for message, bodies in messages for buffer in encode(message, bodies)])

    def close(self) -> None:
        self.sock.close()
        self._thread.join(60)
        assert not self._thread.is_alive()
        self._theirs.close()
        self._loop.close()


def predict(batch: int, text: str) -> tuple[Predict, list[bytes]]:
    return Predict(batch, (Row("r", (PartHead("body", ""),), {}),)), [text.encode()]


@pytest.fixture(params=["watched", "yields"])
def front(write_model: Any, clean_process: None, request: pytest.FixtureRequest) -> Any:
    """A conversation with the handler, and one whose frames are gathered."""
    front = Front(write_model({"svc.py": HANDLER}), yields=request.param == "yields")
    yield front
    front.close()


@pytest.mark.parametrize(("text", "code"), [("wait", 499), ("stubborn", 200)])
def test_a_cancelled_batch_ends_early_and_is_answered(front: Front, text: str, code: int) -> None:
    front.tell(predict(1, text))
    assert isinstance(front.receive(), Partial)
    front.tell((Cancel(1), []))
    answer = front.receive()
    assert isinstance(answer, Answer)
    assert (answer.batch, answer.code, answer.failure) == (1, code, None)
    front.tell(predict(2, "next"))
    answer = front.receive()
    assert isinstance(answer, Answer)
    assert (answer.batch, answer.code) == (2, 200)


def test_a_batch_that_is_cancelled_before_its_first_step_is_answered(front: Front) -> None:
    front.tell(predict(1, "wait"), (Cancel(1), []))
    while not isinstance(answer := front.receive(), Answer):
        pass
    assert (answer.batch, answer.code) == (1, 499)


def test_a_cancel_that_comes_too_late_is_nothing(front: Front) -> None:
    front.tell(predict(1, "next"))
    assert isinstance(front.receive(), Answer)
    front.tell((Cancel(1), []), predict(2, "next"))
    answer = front.receive()
    assert isinstance(answer, Answer)
    assert answer.batch == 2


def test_only_pieces_that_are_like_the_one_before_go_without_their_heads(front: Front) -> None:
    """All heads and bodies are the same; of a handler that is watched each piece stays a piece."""
    front.tell(predict(3, "pieces"))
    told: list[tuple[int, str | None, bytes]] = []
    kinds: list[type] = []
    while True:
        frame = receive(front.sock, front._reader)
        assert frame is not None
        message = frame.message
        if isinstance(message, Answer):
            break
        kinds.append(type(message))
        if isinstance(message, Partial):
            assert message.batch == 3
            told.append((message.results[0].status, message.results[0].content_type, bytes(frame.bodies[0])))
        else:
            assert message == Pieces((3,))
            told.append((*told[-1][:2], bytes(frame.bodies[0])))
    joined: dict[tuple[int, str | None], bytes] = {}
    for status, kind, body in told:
        joined[status, kind] = joined.get((status, kind), b"") + body
    assert joined == {(200, "x/y"): b"123", (200, "other"): b"4" + b"5" * 5000 + b"78", (206, "other"): b"6"}
    first, rest = [Partial, Pieces], [Partial, Partial, Partial, Partial, Pieces]
    assert kinds == (first + rest if front.yields else [*first, Pieces, *rest])
