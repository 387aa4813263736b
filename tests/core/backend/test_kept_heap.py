"""kept_heap: what batches have used stays with the worker, until it is idle."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from torchserve.core.backend.kept_heap import KeptHeap, keep_heap

GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries keep what they like")
CODE = """
import resource
from torchserve.core.backend.kept_heap import keep_heap

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pieces = [bytearray(40_000_000) for _ in range(2)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

heap = keep_heap({})
print(faults(), faults(), resident(), heap.give_back() or resident())
"""


@GLIBC
def test_what_a_batch_has_used_is_used_again_and_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    first, second, kept, left = map(int, done.stdout.split())
    assert first > 15_000
    assert second < 100
    assert kept - left > 15_000


class Worker:
    """A process whose times are set by the test. `given` counts how often it has given memory back."""

    def __init__(self) -> None:
        self.given, self.now, self.worked = 0, 0.0, 0.0
        self.heap = KeptHeap(self.trim, lambda: self.now, lambda: self.worked)

    def trim(self) -> None:
        self.given += 1
        self.worked += 0.5  # which counts as no work of the model's

    def look(self, *, works: float) -> int:
        """Let half a minute pass, look, and return how often memory has been given back since the start."""
        self.now += 30.0
        self.worked += works
        self.heap.look()
        return self.given - 1


def test_memory_is_given_back_once_after_work_has_ended() -> None:
    worker = Worker()
    assert worker.look(works=0.01) == 0  # nothing was used since the start
    assert worker.look(works=20.0) == 0
    assert worker.look(works=9.0) == 0
    assert worker.look(works=0.1) == 1
    assert worker.look(works=0.1) == 1
    assert worker.look(works=5.0) == 1
    assert worker.look(works=0.0) == 2


def test_seldom_requests_add_up() -> None:
    worker = Worker()
    assert [worker.look(works=0.2) for _ in range(5)] == [0, 1, 1, 2, 2]


class Library:
    """A C library that takes mallopt's values up to `most`."""

    def __init__(self, most: int) -> None:
        self.most, self.set = most, dict[int, int]()

    def mallopt(self, number: int, value: int) -> int:
        taken = number != -3 or value <= self.most
        if taken:
            self.set[number] = value
        return int(taken)

    def malloc_trim(self, _rest: int) -> int:
        return 1


@pytest.mark.parametrize(("most", "values"), [(1 << 31, {-3: 1 << 30}), (32 << 20, {-4: 0})])
def test_an_older_glibc_takes_no_piece_from_the_system(most: int, values: dict[int, int]) -> None:
    library = Library(most)
    assert keep_heap({}, library) is not None
    assert library.set == values | {-1: (1 << 31) - 1}


@pytest.mark.parametrize(
    "environment", [{"MALLOC_ARENA_MAX": "2"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1000000"}]
)
def test_who_sets_the_allocator_has_it_so(environment: dict[str, str]) -> None:
    library = Library(1 << 31)
    assert keep_heap(environment, library) is None
    assert not library.set


def test_another_library_is_left_alone() -> None:
    assert keep_heap({}, object()) is None
