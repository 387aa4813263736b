"""raw_bytearray: an ordinary bytearray, whose memory nobody has written to."""

from __future__ import annotations

import resource
import sys

import pytest

from torchserve.core.wire.raw_bytearray import raw_bytearray


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_it_is_a_bytearray_of_that_size(size: int) -> None:
    made = raw_bytearray(size)
    assert (type(made), len(made)) == (bytearray, size)
    made[:] = b"x" * size
    made += b"y"
    assert made == b"x" * size + b"y"


def test_its_pages_are_not_touched() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    made = raw_bytearray(256 << 20)  # 65,536 pages
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 10_000
    del made


def test_what_there_is_no_memory_for_is_refused() -> None:
    with pytest.raises(MemoryError):
        raw_bytearray(sys.maxsize - 1000)
