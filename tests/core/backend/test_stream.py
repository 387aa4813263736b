"""stream: what is sent over a socket that takes a part at a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.backend.stream import send


@given(st.lists(st.binary(max_size=9), max_size=6), st.integers(1, 12))
def test_what_is_sent_in_part_is_sent_in_the_end(buffers: list[bytes], at_a_time: int) -> None:
    class Stub:
        sent = b""

        def sendmsg(self, views: list[memoryview]) -> int:
            part = b"".join(views)[:at_a_time]
            self.sent += part
            return len(part)

    stub = Stub()
    send(stub, buffers)
    assert stub.sent == b"".join(buffers)
