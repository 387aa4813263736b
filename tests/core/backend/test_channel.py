"""Threads of a plain handler wait for calls while the thread of the batches waits for one: none is left behind."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from torchserve.core.backend.channel import Channel
from torchserve.core.backend.model_calls import ModelCalls
from torchserve.core.backend.stream import MAX_FRAME, receive, send
from torchserve.core.handlers.model_call import ModelCallFailed, ModelOrder
from torchserve.core.wire.frames import FrameReader, encode
from torchserve.core.wire.messages import Call, CallCancel, Called, Load, Predict, ToBackend, ToFront

LOAD = Load("m", "1.0", "", "", 1, max_response_size=100)


class Front:
    """The front's end of the channel."""

    def __init__(self) -> None:
        self.sock, self.theirs = socket.socketpair()
        self.sock.settimeout(30)
        self._reader: FrameReader[ToFront] = FrameReader(ToFront, MAX_FRAME)
        self.calls = ModelCalls(lambda buffers: send(self.theirs, buffers))
        reader: FrameReader[ToBackend] = FrameReader(ToBackend, MAX_FRAME)
        self.channel = Channel(self.theirs, reader, self.calls)
        self.calls.connect(self.channel.wait)

    def ask(self, data: Any = "x", idx: int | None = None) -> bytes:
        return bytes(self.calls.begin(ModelOrder("other", data, idx=idx), 1, [4, 7], LOAD).answer_blocking().body)

    def received(self) -> Any:
        frame = receive(self.sock, self._reader)
        assert frame is not None
        return frame.message

    def tell(self, message: Any, *bodies: bytes) -> None:
        send(self.sock, encode(message, bodies))


@pytest.fixture
def front() -> Iterator[Front]:
    made = Front()
    yield made
    made.sock.close()
    made.theirs.close()


def test_outcomes_in_any_order_and_batches_reach_their_threads(front: Front) -> None:
    with ThreadPoolExecutor(9) as threads:
        asked = [threads.submit(front.ask, "x", 1) for _ in range(8)]
        batch = threads.submit(front.channel.next_frame)
        calls = [front.received() for _ in asked]
        assert all(isinstance(call, Call) and call.row == 7 for call in calls)
        numbers = [call.call for call in calls]
        front.tell(Called(numbers[-1], 404, error="gone"))
        front.tell(Predict(3, ()))
        frame = batch.result(30)
        assert frame is not None
        assert frame.message == Predict(3, ())
        for number in reversed(numbers[:-1]):
            front.tell(Called(number, 200), str(number).encode())
        outcomes = sorted(str(each.exception(30) or each.result()) for each in asked)
    assert outcomes == sorted(["gone : 404", *(str(str(number).encode()) for number in numbers[:-1])])


def test_whether_a_frame_comes_is_known_without_reading_it(front: Front) -> None:
    assert not front.channel.comes(0.0)
    front.tell(Predict(3, ()))
    front.tell(Predict(4, ()))
    assert front.channel.comes(30.0)
    assert front.channel.next_frame() is not None
    assert front.channel.comes(0.0), "it was read together with the first one"
    assert front.channel.next_frame() is not None
    assert not front.channel.comes(0.0)
    front.sock.close()
    assert front.channel.comes(30.0), "the end comes, too"


def test_the_end_of_the_stream_ends_all(front: Front) -> None:
    with ThreadPoolExecutor(2) as threads:
        asked = threads.submit(front.ask)
        front.received()
        front.sock.close()
        assert isinstance(asked.exception(30), ConnectionError)
    assert front.channel.next_frame() is None
    with pytest.raises(ConnectionError, match="closed the connection"):
        front.ask()


def test_a_call_that_is_cancelled_tells_the_front(front: Front) -> None:
    pending = front.calls.begin(ModelOrder("other", "x"), 1, None, LOAD)
    call = front.received()
    assert call.row == -1
    pending._future.cancel()
    assert front.received() == CallCancel(call.call)
    front.tell(Called(call.call, 499, error="it was ended"))
    front.tell(Predict(3, ()))
    frame = front.channel.next_frame()
    assert frame is not None
    assert frame.message == Predict(3, ())


def test_what_can_not_be_called(front: Front) -> None:
    with pytest.raises(RuntimeError, match="none runs"):
        front.calls.begin(ModelOrder("other", "x"), None, None, LOAD)
    with pytest.raises(ModelCallFailed, match="max_response_size") as caught:
        front.ask("x" * 101)
    assert caught.value.status == 413
    with pytest.raises(ConnectionError, match="no server is connected"):
        ModelCalls(lambda _: None).begin(ModelOrder("other", "x"), 1, None, LOAD)
