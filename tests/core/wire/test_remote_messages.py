"""Messages of workers on other hosts: each comes out of a frame as it went in, and what is none of a side's is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from torchserve.core.wire.frames import Frame, FrameError
from torchserve.core.wire.messages import Loaded
from torchserve.core.wire.remote_messages import (
    Alive,
    Exited,
    FromMinder,
    Hello,
    Kill,
    Leaving,
    Look,
    Need,
    Piece,
    Printed,
    RankFailed,
    Ranks,
    Seen,
    Start,
    Started,
    Ticket,
    ToMinder,
)

from .one_message import read

TICKET = Ticket("W-9000-m_1.0", 7, "10.0.0.1", 7443, "n" * 43, "authority", "certificate", "key", beat=2.0)
TO_MINDER = [
    Start(TICKET, "abc", hidden="AWS_.*", variables={"A": "ü"}),
    Start(TICKET, "abc", ranks=Ranks(2, "tp", ("--nnodes=1",))),
    Piece("a/b.py", executable=True),
    Piece(end=True),
    Kill(),
    Look(),
]
FROM_MINDER = [
    Need(), Started(12, "/models/abc"), Printed("stderr", ("one", "")), Leaving("SIGTERM"), Exited(-9, "killed"),
    Seen("File h.py"), Seen(error="it takes no signal"),
    RankFailed(Loaded(507, "rank 1: out of memory")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        *((ToMinder, each) for each in (*TO_MINDER, Alive())),
        *((FromMinder, each) for each in (*FROM_MINDER, Alive(1 << 40, (1, 2)))),
        (Hello, Hello("W-9000-m_1.0", 7, "n" * 43, 12, "node-b")),
    ],
)
def test_each_comes_out_as_it_went_in(kind: Any, message: msgspec.Struct) -> None:
    assert read(kind, message, b"body") == Frame(message, (b"body",))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        *((ToMinder, each) for each in FROM_MINDER),
        *((FromMinder, each) for each in TO_MINDER),
        *((Hello, each) for each in (*TO_MINDER, *FROM_MINDER, TICKET)),
    ],
)
def test_what_the_other_side_says_is_refused(kind: Any, message: msgspec.Struct) -> None:
    with pytest.raises(FrameError, match="a frame's head can't be read"):
        read(kind, message)
