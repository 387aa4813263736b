"""Who has to go so that a worker finds room: no more than it takes, and those used longest ago."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.scheduler.errors import GpuLoading, NoRoom
from torchserve.scheduler.eviction import Resident, victims
from torchserve.scheduler.gpu import Gpu, Lease
from torchserve.scheduler.placement import Claim, place_all

GIB = 1 << 30


def gpu(index: int, free: float) -> Gpu:
    return Gpu(index, f"GPU-{index}", "any", 80 * GIB, int(free * GIB), 2)


def lease(index: int, worker: str, need: float, *, held: float | None = None, loading: bool = False) -> Lease:
    return Lease(f"GPU-{index}", worker, "any", int(need * GIB), int((need if held is None else held) * GIB), loading)


def resident(name: str, used: float, *workers: str) -> Resident:
    return Resident(name, frozenset(workers or (name,)), used)


A, B, C = (resident(name, used) for used, name in enumerate("abc"))


@pytest.mark.parametrize(
    ("free", "leases", "residents", "need", "expected"),
    [
        ([50], [], [], 40, ""),  # there is room as it is
        ([10], [lease(0, "a", 70)], [A], 40, "a"),
        ([10], [lease(0, "a", 70)], [], 40, None),
        ([10], [lease(0, "a", 20)], [A], 40, None),  # others hold the rest
        ([80], [lease(0, "a", 70, held=0)], [A], 40, "a"),  # what was promised counts, too
        ([10], [lease(0, "a", 30), lease(0, "b", 40)], [B, A], 35, "a"),  # the one used longest ago
        ([10], [lease(0, "a", 30), lease(0, "b", 40)], [B, A], 45, "b"),  # it alone suffices: the older one may stay
        ([10], [lease(0, "a", 30), lease(0, "b", 40)], [B, A], 75, "ab"),
        ([5, 5], [lease(0, "a", 30), lease(1, "b", 75)], [A, B], 60, "b"),  # on another GPU
        ([10], [lease(0, "a1", 20), lease(0, "a2", 20), lease(0, "x", 30)], [resident("a", 1, "a1", "a2")], 50, "a"),
        ([10], [lease(0, "a", 70, loading=True)], [A], 40, "a"),
        ([10], [lease(0, "b", 70)], [resident("idle", 0, "none"), B], 40, "b"),  # who holds nothing is left alone
        ([60], [lease(0, "x", 10, loading=True)], [A], 40, ""),  # room, once the other has loaded
        ([10], [lease(0, "a", 70)], [Resident("a", frozenset(), 0.0)], 40, None),
    ],
)
def test_victims(
    free: list[float], leases: list[Lease], residents: list[Resident], need: float, expected: str | None
) -> None:
    gpus = [gpu(index, space) for index, space in enumerate(free)]
    found = victims(gpus, leases, Claim("new", int(need * GIB), int(need * GIB)), 0, 1, residents)
    assert (found if found is None else "".join(sorted(each.name for each in found))) == expected


def test_a_device_that_is_not_there_is_nobodys_fault() -> None:
    claim = Claim("new", GIB, GIB, device_ids=[7])
    assert victims([gpu(0, 1)], [lease(0, "a", 70)], claim, 0, 1, [A]) is None


@st.composite
def hosts(draw: st.DrawFn) -> tuple[list[Gpu], list[Lease], list[Resident], int]:
    leases: list[Lease] = []
    gpus: list[Gpu] = []
    for index in range(draw(st.integers(1, 3))):
        left = 80
        for _ in range(draw(st.integers(0, 4))):
            need = draw(st.integers(0, left))
            left -= need
            leases.append(lease(index, draw(st.sampled_from("abcdxy")), need))
        gpus.append(gpu(index, left))
    names = draw(st.sets(st.sampled_from("abcd")))
    residents = [resident(name, draw(st.integers(0, 3))) for name in sorted(names)]
    return gpus, leases, residents, draw(st.integers(1, 90))


def fits(gpus: list[Gpu], leases: list[Lease], need: int, gone: set[str]) -> bool:
    held = {each.uuid: sum(x.held for x in leases if x.worker in gone and x.uuid == each.uuid) for each in gpus}
    after = [gpu(each.index, (each.free + held[each.uuid]) / GIB) for each in gpus]
    try:
        place_all(after, [each for each in leases if each.worker not in gone], Claim("new", need * GIB, need * GIB))
    except GpuLoading:
        return True
    except NoRoom:
        return False
    return True


@given(hosts())
def test_enough_go_and_none_in_vain(host: tuple[list[Gpu], list[Lease], list[Resident], int]) -> None:
    gpus, leases, residents, need = host
    chosen = victims(gpus, leases, Claim("new", need * GIB, need * GIB), 0, 1, residents)
    if chosen is None:
        assert not fits(gpus, leases, need, {each.name for each in residents})
        return
    names = {each.name for each in chosen}
    assert fits(gpus, leases, need, names)
    for fewer in combinations(names, len(names) - 1) if names else ():
        assert not fits(gpus, leases, need, set(fewer))
