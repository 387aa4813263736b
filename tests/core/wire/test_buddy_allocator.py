"""BuddyAllocator: blocks lie within its memory and apart from each other, and all of it comes back, whatever is taken and given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.wire.buddy_allocator import MIN_BLOCK, BuddyAllocator, block_size

SIZE = MIN_BLOCK * 16

# A size is taken; a share (0 to 1) says which of those taken is given back.
STEPS = st.lists(st.one_of(st.integers(1, SIZE * 2), st.floats(0, 1, exclude_max=True)), max_size=60)


@given(STEPS)
def test_blocks_are_apart_and_come_back(steps: list[int | float]) -> None:
    allocator = BuddyAllocator(SIZE)
    held: dict[int, int] = {}
    for step in steps:
        if isinstance(step, float):
            if held:
                offset = list(held)[int(step * len(held))]
                allocator.free(offset)
                del held[offset]
            continue
        offset = allocator.allocate(step)
        if offset is None:
            assert all(free < block_size(step) for _, free in allocator.free_blocks())
        else:
            assert offset % block_size(step) == 0
            held[offset] = block_size(step)
        # Taken and free blocks together are the arena, without a gap.
        assert allocator.allocated == len(held)
        blocks = sorted([*held.items(), *allocator.free_blocks()])
        assert [at for at, _ in blocks] == [sum(size for _, size in blocks[:n]) for n in range(len(blocks))]
        assert sum(size for _, size in blocks) == SIZE
    for offset in held:
        allocator.free(offset)
    assert allocator.free_blocks() == [(0, SIZE)]


@pytest.mark.parametrize(
    ("size", "taken"),
    [(1, MIN_BLOCK), (MIN_BLOCK, MIN_BLOCK), (MIN_BLOCK + 1, 2 * MIN_BLOCK), (1_000_000, 1 << 20), (1 << 20, 1 << 20)],
)
def test_a_body_takes_the_next_power_of_two(size: int, taken: int) -> None:
    assert block_size(size) == taken


def test_what_was_given_back_last_is_taken_first() -> None:
    allocator = BuddyAllocator(SIZE)
    offsets = [allocator.allocate(MIN_BLOCK) for _ in range(8)]
    for offset in (offsets[5], offsets[2]):
        assert offset is not None
        allocator.free(offset)
    assert allocator.allocate(MIN_BLOCK) == offsets[2]


@pytest.mark.parametrize("offset", [0, MIN_BLOCK, -MIN_BLOCK, SIZE, 7])
def test_what_is_not_taken_can_not_be_given(offset: int) -> None:
    allocator = BuddyAllocator(SIZE)
    allocator.allocate(2 * MIN_BLOCK)
    allocator.free(0)
    with pytest.raises(KeyError):
        allocator.free(offset)
    assert allocator.free_blocks() == [(0, SIZE)]
