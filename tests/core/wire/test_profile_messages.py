"""Messages of profiles: each comes out of a frame as it went in, and what the other side says is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from torchserve.core.wire.frames import Frame, FrameError
from torchserve.core.wire.messages import Profile, Profiled, ToBackend, ToFront

from .one_message import read

ORDERS = [Profile(1, begin=True), Profile(2**31, begin=False)]
PIECES = [Profiled(1), Profiled(1, last=True, note="torch.profiler, 3 batches"), Profiled(7, last=True, error="ü")]


@pytest.mark.parametrize(
    ("kind", "message"), [*((ToBackend, each) for each in ORDERS), *((ToFront, each) for each in PIECES)]
)
def test_each_comes_out_as_it_went_in(kind: Any, message: msgspec.Struct) -> None:
    assert read(kind, message, b"piece") == Frame(message, (b"piece",))


@pytest.mark.parametrize(
    ("kind", "message"), [*((ToFront, each) for each in ORDERS), *((ToBackend, each) for each in PIECES)]
)
def test_what_the_other_side_says_is_refused(kind: Any, message: msgspec.Struct) -> None:
    with pytest.raises(FrameError, match="a frame's head can't be read"):
        read(kind, message)
