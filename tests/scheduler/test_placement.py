from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.scheduler.errors import GpuLoading, NoRoom
from torchserve.scheduler.gpu import Gpu, Lease
from torchserve.scheduler.placement import TOLERANCE, Claim, place, place_all, room

GIB = 1 << 30


def gpus(*free: float | None, **more: Any) -> list[Gpu]:
    """GPUs with that much memory free (GiB); None for one that does not answer."""
    return [
        Gpu(index, f"GPU-{index}", "any", 80 * GIB, int(space * GIB), len(free), **more)
        for index, space in enumerate(free)
        if space is not None
    ]


def lease(index: int, need: float = 0, held: float = 0, *, model: str = "other", loading: bool = False) -> Lease:
    return Lease(f"GPU-{index}", "W", model, int(need * GIB), int(held * GIB), loading)


def on(*indices: int) -> list[Lease]:
    """Workers that take nothing worth counting."""
    return [lease(index) for index in indices]


@pytest.mark.parametrize(
    ("free", "leases", "claim", "chosen"),
    [
        ([], [], {}, None),
        ([], [], {"device_ids": [0]}, None),
        ([10], [], {}, 0),
        ([10, 20], [], {}, 1),
        ([20, 10], on(*[0] * 9), {}, 0),  # memory first, however many workers it has
        ([20, 20], [], {}, 0),
        ([20, 20], on(0), {}, 1),
        ([20, 20, 20], on(0, 0, 1, 2), {}, 1),
        ([20.4, 20], on(0), {}, 1),  # within the tolerance
        ([20.6, 20], on(0), {}, 0),  # beyond it
        ([10, 20, 30], [], {"limit": 2}, 1),
        ([10, 20], [], {"limit": 0}, None),
        ([10, 20], [], {"limit": 8}, 1),
        ([10, 20], [], {"limit": 0, "device_ids": [0]}, None),
        ([10, 20, 30], [], {"device_ids": [0, 1]}, 1),
        ([10, 20, 30], [], {"device_ids": [0]}, 0),
        ([10, 20, 30], [], {"device_ids": []}, 2),
        ([None, 20, 30], [], {"limit": 2}, 1),  # an index stays what it is when another GPU is lost
        ([None, 20, 30], [], {"device_ids": [0, 1]}, 1),
        ([10, None], [], {"device_ids": [0, 1]}, 0),
        # what is promised and not yet taken isn't free
        ([30, 20], [lease(0, need=15)], {}, 1),
        ([30, 20], [lease(0, need=15, held=12)], {}, 0),
        ([20, 20], [lease(0, model="m"), lease(1), lease(1)], {"model": "m"}, 1),  # a model is spread first
        ([20, 20], [lease(0, loading=True), lease(1)], {}, 1),  # of equals, one where nothing loads
        ([20, 10], [], {"least": 9 * GIB}, 0),
        ([10.2, 10], on(0), {"least": int(10.1 * GIB)}, 0),  # equal, but for the model it does not suffice
    ],
)
def test_place(free: list[float | None], leases: list[Lease], claim: dict[str, Any], chosen: int | None):
    found = place(gpus(*free), leases, Claim(**claim))
    assert (found.index if found else None) == chosen


def test_the_least_busy_of_equals():
    idle, busy = Gpu(1, "GPU-1", "any", GIB, GIB, utilization=30.0), Gpu(0, "GPU-0", "any", GIB, GIB, utilization=80.0)
    assert place([busy, idle], [], Claim()) is idle


def test_memory_that_the_driver_does_not_tell_is_endless():
    shared = [Gpu(0, "GPU-0", "GB10", 0, 0), Gpu(1, "GPU-1", "GB10", 0, 0)]
    found = place(shared, on(0), Claim(least=500 * GIB), headroom=GIB)
    assert found is shared[1]


@pytest.mark.parametrize(
    ("free", "claim", "message"),
    [
        ([10, 20], {"device_ids": [0, 2]}, "device id 2 does not exist; there are: 0, 1"),
        ([10, 20], {"device_ids": [-1]}, "device id -1 does not exist; there are: 0, 1"),
        ([10, 20], {"device_ids": [1], "limit": 1}, "device id 1 does not exist; there are: 0"),
        ([10, None], {"device_ids": [1]}, r"none of the device ids \[1\] answers; those that do: 0"),
    ],
)
def test_bad_device_ids(free: list[float | None], claim: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=f"^{message}$"):
        place(gpus(*free), [], Claim(**claim))


def test_index_counts_where_the_number_of_visible_gpus_is_unknown():
    with pytest.raises(ValueError, match="device id 3"):
        place([Gpu(2, "GPU-2", "any", GIB, GIB)], [], Claim(device_ids=[2, 3]))


def test_the_gpu_of_choice_loads_another_model():
    with pytest.raises(GpuLoading, match="GPU 0 is loading another model"):
        place(gpus(30, 20), [lease(0, need=5, loading=True)], Claim())


def test_no_room_names_each_gpu_and_the_need():
    with pytest.raises(NoRoom) as caught:
        place(gpus(10, 4), [lease(0, need=5)], Claim(least=8 * GIB), headroom=GIB)
    assert str(caught.value) == (
        "no GPU has 8192 MiB for it: GPU 0 (GPU-0) has 4096 MiB to give, 10240 of 81920 MiB free;"
        " GPU 1 (GPU-1) has 3072 MiB to give, 4096 of 81920 MiB free"
    )
    assert caught.value.least == 8 * GIB


def test_a_sick_gpu_takes_no_worker():
    well, sick = gpus(10)[0], Gpu(1, "GPU-1", "any", 80 * GIB, 80 * GIB, 2, sick="XID 79, fallen off the bus")
    assert place([well, sick], [], Claim()) is well
    with pytest.raises(ValueError, match=r"GPU 1 \(GPU-1\) can't be used: XID 79"):
        place([well, sick], [], Claim(device_ids=[1]))


def test_what_a_worker_gave_back_it_may_take_again():
    # 50 of 80 are promised and it holds 50 by the books, but just now nothing is in use.
    gpu = gpus(80)[0]
    assert room(gpu, [lease(0, need=50, held=50)], headroom=GIB) == 29 * GIB


@given(st.integers(1, 8), st.integers(1, 40))
def test_workers_go_round_among_equals(number: int, workers: int):
    leases: list[Lease] = []
    for _ in range(workers):
        gpu = place(gpus(*[10] * number), leases, Claim())
        assert gpu is not None
        leases.append(lease(gpu.index))
    taken = Counter(each.uuid for each in leases)
    assert max(taken.values()) - min(taken[f"GPU-{index}"] for index in range(number)) <= 1


_LEASES = st.lists(
    st.builds(lease, st.integers(0, 7), st.floats(0, 40), st.floats(0, 40), model=st.sampled_from("ab")), max_size=12
)


@given(st.lists(st.integers(0, 80 * GIB), min_size=1, max_size=8), _LEASES, st.integers(0, 40 * GIB))
def test_never_far_from_the_most_room_and_never_too_little(free: list[int], leases: list[Lease], least: int):
    machine = [Gpu(index, f"GPU-{index}", "any", 80 * GIB, space) for index, space in enumerate(free)]
    rooms = {gpu.uuid: room(gpu, leases, GIB) for gpu in machine}
    try:
        gpu = place(machine, leases, Claim("a", least, least), GIB)
    except NoRoom:
        assert max(rooms.values()) < least
        return
    assert gpu is not None
    assert rooms[gpu.uuid] >= max(least, max(rooms.values()) - TOLERANCE)


@pytest.mark.parametrize(
    ("free", "leases", "claim", "count", "chosen"),
    [
        ([], [], {}, 2, []),
        ([10, 20, 30], [], {}, 1, [2]),
        ([10, 20, 30], [], {}, 2, [1, 2]),
        ([20, 20, 20], on(0), {}, 2, [1, 2]),
        ([20, 20, 20], [], {"device_ids": [2, 0]}, 2, [0, 2]),
        ([20, 30, 40], [], {"limit": 2}, 2, [0, 1]),
        ([20, None, 40], [], {}, 2, [0, 2]),
    ],
)
def test_several_at_once_are_different_ones(
    free: list[float | None], leases: list[Lease], claim: dict[str, Any], count: int, chosen: list[int]
) -> None:
    assert [gpu.index for gpu in place_all(gpus(*free), leases, Claim(**claim), 0, count)] == chosen


@pytest.mark.parametrize(
    ("free", "claim", "error", "text"),
    [
        ([20, 20], {}, ValueError, "it needs 3 GPUs, and there are 2 for it"),
        ([20, 20, 20, 20], {"device_ids": [1, 3]}, ValueError, "there are 2 for it"),
        ([20, 20, 20, 20], {"limit": 2}, ValueError, "there are 2 for it"),
        ([20, 20, 1], {"least": 2 * GIB}, NoRoom, "GPU"),  # the third has no room
    ],
)
def test_too_few_are_none(free: list[float], claim: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        place_all(gpus(*free), [], Claim(**claim), 0, 3)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=8), _LEASES, st.lists(st.integers(0, 3), min_size=8, max_size=8)
)
def test_which_of_equals_is_as_the_definition_says(free: list[int], leases: list[Lease], busy: list[int]):
    """The plain definition: GPUs whose room is within TOLERANCE of the most, in the order that `place` promises."""
    machine = [
        Gpu(index, f"GPU-{index}", "any", 80 * GIB, 40 * GIB + space * TOLERANCE // 2, utilization=busy[index] * 25.0)
        for index, space in enumerate(free)
    ]
    rooms = {gpu.uuid: room(gpu, leases, 0) for gpu in machine}
    claim, most = Claim("a"), max(rooms.values())
    if most < claim.least:
        with pytest.raises(NoRoom):
            place(machine, leases, claim)
        return
    equal = [gpu for gpu in machine if rooms[gpu.uuid] >= max(most - TOLERANCE, claim.least)]

    def rank(gpu: Gpu) -> tuple[float, ...]:
        here = [lease for lease in leases if lease.uuid == gpu.uuid]
        of_model = sum(lease.model == "a" for lease in here)
        return of_model, len(here), any(lease.loading for lease in here), busy[gpu.index], gpu.index

    best = min(equal, key=rank)
    if any(lease.loading and lease.uuid == best.uuid for lease in leases):
        with pytest.raises(GpuLoading):
            place(machine, leases, claim)
    else:
        assert place(machine, leases, claim) is best


def test_several_gpus_of_which_one_does_not_answer_are_too_few() -> None:
    with pytest.raises(ValueError, match="it needs 2 GPUs, and there are 1 for it"):
        place_all(gpus(20, None), [], Claim(device_ids=[0, 1]), 0, 2)
