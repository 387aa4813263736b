from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.scheduler.devices import Gpu
from torchserve.scheduler.placement import TOLERANCE, place

GIB = 1 << 30


def gpus(*free: float | None) -> list[Gpu]:
    """GPUs with that much memory free (GiB); None for one that does not answer."""
    return [
        Gpu(index, f"GPU-{index}", "any", 80 * GIB, int(space * GIB), len(free))
        for index, space in enumerate(free)
        if space is not None
    ]


@pytest.mark.parametrize(
    ("free", "assigned", "options", "chosen"),
    [
        ([], {}, {}, None),
        ([], {}, {"device_ids": [0]}, None),
        ([10], {}, {}, 0),
        ([10, 20], {}, {}, 1),
        ([20, 10], {"GPU-0": 9}, {}, 0),  # memory first, however many workers it has
        ([20, 20], {}, {}, 0),
        ([20, 20], {"GPU-0": 1}, {}, 1),
        ([20, 20, 20], {"GPU-0": 2, "GPU-1": 1, "GPU-2": 1}, {}, 1),
        ([20.4, 20], {"GPU-0": 1}, {}, 1),  # within the tolerance
        ([20.6, 20], {"GPU-0": 1}, {}, 0),  # beyond it
        ([0, 0], {"GPU-0": 1}, {}, 1),  # a driver that does not say
        ([10, 20, 30], {}, {"limit": 2}, 1),
        ([10, 20], {}, {"limit": 0}, None),
        ([10, 20], {}, {"limit": 8}, 1),
        ([10, 20], {}, {"limit": 0, "device_ids": [0]}, None),
        ([10, 20, 30], {}, {"device_ids": [0, 1]}, 1),
        ([10, 20, 30], {}, {"device_ids": [0]}, 0),
        ([10, 20, 30], {}, {"device_ids": []}, 2),
        ([None, 20, 30], {}, {"limit": 2}, 1),  # an index stays what it is when another GPU is lost
        ([None, 20, 30], {}, {"device_ids": [0, 1]}, 1),
        ([10, None], {}, {"device_ids": [0, 1]}, 0),
    ],
)
def test_place(free: list[float | None], assigned: dict[str, int], options: dict[str, object], chosen: int | None):
    found = place(gpus(*free), assigned, **options)
    assert (found.index if found else None) == chosen


@pytest.mark.parametrize(
    ("free", "options", "message"),
    [
        ([10, 20], {"device_ids": [0, 2]}, "device id 2 does not exist; there are: 0, 1"),
        ([10, 20], {"device_ids": [-1]}, "device id -1 does not exist; there are: 0, 1"),
        ([10, 20], {"device_ids": [1], "limit": 1}, "device id 1 does not exist; there are: 0"),
        ([10, None], {"device_ids": [1]}, r"none of the device ids \[1\] answers; those that do: 0"),
    ],
)
def test_bad_device_ids(free: list[float | None], options: dict[str, object], message: str):
    with pytest.raises(ValueError, match=f"^{message}$"):
        place(gpus(*free), {}, **options)


def test_index_counts_where_the_number_of_visible_gpus_is_unknown():
    with pytest.raises(ValueError, match="device id 3"):
        place([Gpu(2, "GPU-2", "any", GIB, GIB)], {}, device_ids=[2, 3])


@given(st.integers(1, 8), st.integers(1, 40))
def test_workers_go_round_among_equals(number: int, workers: int):
    assigned: Counter[str] = Counter()
    for _ in range(workers):
        gpu = place(gpus(*[10] * number), assigned)
        assert gpu is not None
        assigned[gpu.uuid] += 1
    assert max(assigned.values()) - min(assigned[f"GPU-{index}"] for index in range(number)) <= 1


@given(
    st.lists(st.integers(0, 80 * GIB), min_size=1, max_size=8), st.dictionaries(st.integers(0, 7), st.integers(0, 9))
)
def test_never_far_from_the_most_free(free: list[int], assigned: dict[int, int]):
    machine = [Gpu(index, f"GPU-{index}", "any", 80 * GIB, space) for index, space in enumerate(free)]
    gpu = place(machine, {f"GPU-{index}": number for index, number in assigned.items()})
    assert gpu is not None
    assert gpu.free >= max(free) - TOLERANCE
