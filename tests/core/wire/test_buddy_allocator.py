"""Arena: blocks lie within it and apart from each other, and all of it comes back, whatever is taken and given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.wire.buddy_allocator import LEAST, Arena, span

SIZE = LEAST * 16

# A size is taken; a share (0 to 1) says which of those taken is given back.
STEPS = st.lists(st.one_of(st.integers(1, SIZE * 2), st.floats(0, 1, exclude_max=True)), max_size=60)


@given(STEPS)
def test_blocks_are_apart_and_come_back(steps: list[int | float]) -> None:
    arena = Arena(SIZE)
    held: dict[int, int] = {}
    for step in steps:
        if isinstance(step, float):
            if held:
                offset = list(held)[int(step * len(held))]
                arena.give(offset)
                del held[offset]
            continue
        offset = arena.take(step)
        if offset is None:
            assert all(free < span(step) for _, free in arena.free())
        else:
            assert offset % span(step) == 0
            held[offset] = span(step)
        # Taken and free blocks together are the arena, without a gap.
        assert arena.taken == len(held)
        blocks = sorted([*held.items(), *arena.free()])
        assert [at for at, _ in blocks] == [sum(size for _, size in blocks[:n]) for n in range(len(blocks))]
        assert sum(size for _, size in blocks) == SIZE
    for offset in held:
        arena.give(offset)
    assert arena.free() == [(0, SIZE)]


@pytest.mark.parametrize(
    ("size", "taken"), [(1, LEAST), (LEAST, LEAST), (LEAST + 1, 2 * LEAST), (1_000_000, 1 << 20), (1 << 20, 1 << 20)]
)
def test_a_body_takes_the_next_power_of_two(size: int, taken: int) -> None:
    assert span(size) == taken


def test_what_was_given_back_last_is_taken_first() -> None:
    arena = Arena(SIZE)
    offsets = [arena.take(LEAST) for _ in range(8)]
    for offset in (offsets[5], offsets[2]):
        assert offset is not None
        arena.give(offset)
    assert arena.take(LEAST) == offsets[2]


@pytest.mark.parametrize("offset", [0, LEAST, -LEAST, SIZE, 7])
def test_what_is_not_taken_can_not_be_given(offset: int) -> None:
    arena = Arena(SIZE)
    arena.take(2 * LEAST)
    arena.give(0)
    with pytest.raises(KeyError):
        arena.give(offset)
    assert arena.free() == [(0, SIZE)]
