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

    def __init__(self, folder: Any, *, gather: bool) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(30)
        self._reader: FrameReader[ToFront] = FrameReader(ToFront, MAX_FRAME)
        service = Service(lambda buffers: send(theirs, buffers))
        assert service.load(Load("m", "1.0", str(folder), "svc.py", 1, asynchronous=True)).code == 200
        reader: FrameReader[ToBackend] = FrameReader(ToBackend, MAX_FRAME)
        loop = asyncio.new_event_loop()
        self._loop = loop
        talk = (theirs, reader, service, loop)
        self._thread = threading.Thread(target=converse, args=talk, kwargs={"gather": gather})
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


@pytest.fixture(params=["plain", "gathered"])
def front(write_model: Any, clean_process: None, request: pytest.FixtureRequest) -> Any:
    """A conversation with the handler, and one whose frames are gathered."""
    front = Front(write_model({"svc.py": HANDLER}), gather=request.param == "gathered")
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
