"""Shared memory of the front: a region lives as long as its views, is bounds-checked, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import mmap
import os
import re
from pathlib import Path

import pytest

from torchserve.core.wire.buddy_allocator import MIN_BLOCK
from torchserve.core.wire.frames import FrameError
from torchserve.core.workers import shared_memory as shared
from torchserve.core.workers.shared_memory import Requests, Results

from ...descriptors import open_paths
from ..doubles import until

SIZE = 8 * MIN_BLOCK


def held() -> tuple[int, int]:
    """Descriptors and mappings of shared memory that this process has."""
    maps = Path("/proc/self/maps").read_text()
    return len(open_paths("memfd:torchserve")), maps.count("memfd:torchserve")


def pages(descriptor: int) -> int:
    """Bytes that the memory really has."""
    return os.fstat(descriptor).st_blocks * 512


async def test_a_region_is_free_again_when_its_last_view_has_gone() -> None:
    requests = Requests(SIZE)
    whole = requests.take(SIZE)
    assert whole is not None
    part = whole[10:20]
    del whole
    assert requests.take(1 << 16) is None
    del part
    assert requests.take(SIZE) is not None
    requests.close()


@pytest.mark.parametrize("size", [0, 1, MIN_BLOCK - 1])
async def test_a_small_body_is_not_worth_a_region(size: int) -> None:
    requests = Requests(SIZE)
    assert requests.take(size) is None
    assert requests.place([b"x" * size]) == ({}, [])
    requests.close()


async def test_a_body_that_lies_there_is_not_copied_and_another_is() -> None:
    requests, other = Requests(SIZE), Requests(SIZE)
    here, there = requests.take(2 * MIN_BLOCK), other.take(MIN_BLOCK)
    assert here is not None
    assert there is not None
    here[:] = b"h" * (2 * MIN_BLOCK)
    there[:] = b"t" * MIN_BLOCK
    tail = here[MIN_BLOCK // 2 :]
    places, kept = requests.place([b"small", here, tail, there, bytearray(b"b" * MIN_BLOCK)])
    reader = memoryview(mmap.mmap(requests.descriptor, SIZE, prot=mmap.PROT_READ))
    assert sorted(places) == [1, 2, 3, 4]
    assert places[2] == places[1] + MIN_BLOCK // 2
    for index, view in zip(sorted(places), kept, strict=True):
        assert reader[places[index] : places[index] + len(view)] == view
    assert [bytes(view[:1]) for view in kept] == [b"h", b"h", b"t", b"b"]
    requests.close()
    other.close()


async def test_what_finds_no_room_stays_where_it_is() -> None:
    requests = Requests(SIZE)
    places, kept = requests.place([b"a" * SIZE, b"b" * MIN_BLOCK])
    assert list(places) == [0]
    del kept
    assert list(requests.place([b"c" * (SIZE + 1), b"d" * SIZE])[0]) == [1]
    requests.close()
    assert requests.take(MIN_BLOCK) is None


async def test_a_worker_can_not_write_requests_nor_shrink_anything() -> None:
    requests, results = Requests(SIZE), Results(SIZE)
    with pytest.raises(PermissionError):
        mmap.mmap(requests.descriptor, SIZE)
    with pytest.raises(OSError, match=r"Invalid argument|not permitted"):
        os.ftruncate(requests.descriptor, 0)
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(results.descriptor, MIN_BLOCK)
    requests.close()
    results.close()


@pytest.mark.parametrize(
    ("offset", "size"),
    [
        (SIZE, 1),
        (-MIN_BLOCK, 1),
        (0, 0),
        (0, SIZE + 1),
        (SIZE - MIN_BLOCK, MIN_BLOCK + 1),
        (MIN_BLOCK, 2 * MIN_BLOCK),
        (1, MIN_BLOCK),
        (1 << 62, MIN_BLOCK),
        (0, 1 << 62),
    ],
)
async def test_a_place_outside_is_refused_without_a_word_of_where_it_was(offset: int, size: int) -> None:
    results = Results(SIZE)
    with pytest.raises(FrameError, match="outside") as caught:
        results.lend(offset, size)
    assert not re.search(r"\d", str(caught.value))
    results.close()


async def test_the_worker_is_told_once_what_nobody_reads_any_more() -> None:
    results = Results(SIZE)
    first, second = results.lend(0, MIN_BLOCK), results.lend(2 * MIN_BLOCK, 2 * MIN_BLOCK)
    assert results.returned() == ()
    del second
    assert results.returned() == (2 * MIN_BLOCK,)
    del first
    assert results.returned() == (0,)
    assert results.returned() == ()
    results.close()


@pytest.mark.parametrize("sealed", [True, False])
async def test_after_a_quiet_time_pages_are_given_back(sealed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "QUIET", 0.0)
    if not sealed:
        monkeypatch.setattr(shared, "F_SEAL_FUTURE_WRITE", 1 << 30)  # a seal that no kernel knows
    requests, results = Requests(SIZE), Results(SIZE)
    busy = True
    results.busy = lambda: busy
    _, kept = requests.place([b"x" * MIN_BLOCK, b"y" * MIN_BLOCK])
    lent = results.lend(0, 4 * MIN_BLOCK)
    lent[:] = b"z" * len(lent)
    assert (pages(requests.descriptor), pages(results.descriptor)) == (2 * MIN_BLOCK, 4 * MIN_BLOCK)
    del kept[0]
    if not sealed:  # a seal forbids giving back single pages: see test_sealed
        await until(lambda: pages(requests.descriptor) == MIN_BLOCK)
    assert bytes(kept[0][-1:]) == b"y"
    busy = False
    for _ in range(20):  # looks
        await asyncio.sleep(0)
    assert bytes(lent[-1:]) == b"z"
    busy = True
    del lent
    for _ in range(20):
        await asyncio.sleep(0)
    assert pages(results.descriptor) == 4 * MIN_BLOCK
    busy = False
    await until(lambda: not pages(results.descriptor))
    del kept
    await until(lambda: not pages(requests.descriptor))
    requests.close()
    results.close()


async def test_views_outlive_the_memory_and_take_it_along() -> None:
    gc.collect()  # what other tests have left doesn't go meanwhile
    before = held()
    results = Results(SIZE)
    view = results.lend(0, MIN_BLOCK)
    view[:3] = b"abc"
    results.close()
    with pytest.raises(FrameError):
        results.lend(0, MIN_BLOCK)
    assert bytes(view[:3]) == b"abc"
    assert held() > before
    del view
    assert held() == before
