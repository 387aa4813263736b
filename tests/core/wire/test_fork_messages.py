"""What the front and its fork server tell each other comes out as it went in, and nothing else is taken for it."""

from __future__ import annotations

import msgspec
import pytest

from torchserve.core.wire.fork_messages import Fork, Forked, FromForkServer, Refused


@pytest.mark.parametrize(
    "message",
    [
        Fork("W-9000-m_1.0", ("torch",), {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": None}, ("model",)),
        Fork("W-9000-m_1.0", (), {}, ()),
    ],
)
def test_an_order(message: Fork) -> None:
    assert msgspec.json.decode(msgspec.json.encode(message), type=Fork) == message


@pytest.mark.parametrize(
    "message",
    [Forked(7), Forked(7, ready=True), Refused("it has 2 threads", final=True), Refused("a module can't be imported")],
)
def test_an_answer(message: FromForkServer) -> None:
    assert msgspec.json.decode(msgspec.json.encode(message), type=FromForkServer) == message


@pytest.mark.parametrize("packet", [b"", b"{}", b"[]", b'{"type":"Fork"}', b'{"type":"Forked","pid":"seven"}'])
def test_what_is_no_answer(packet: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        msgspec.json.decode(packet, type=FromForkServer)
