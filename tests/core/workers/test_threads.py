"""The share of the cores that a worker computes with, and the environment that tells it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.workers.threads import Threads, threads_per_worker
from torchserve.core.workers.worker_environment import worker_environment


@pytest.mark.parametrize(
    ("workers", "cores", "few", "most"),
    [
        (1, 1, 1, 1),
        (1, 2, 1, 2),
        (1, 4, 3, 4),
        (1, 16, 15, 16),
        (2, 16, 7, 8),
        (4, 8, 1, 2),
        (16, 8, 1, 1),
        (1, 0.5, 1, 1),
        (1, 3.5, 2, 3),
        (0, 4, 3, 4),
    ],
)
def test_the_workers_share_the_cores_with_and_without_the_front_end(
    workers: int, cores: float, few: int, most: int
) -> None:
    assert threads_per_worker(workers, cores) == Threads(few, most)


@given(st.integers(1, 64), st.floats(0.1, 512))
def test_workers_never_take_more_than_the_machine_has(workers: int, cores: float) -> None:
    threads = threads_per_worker(workers, cores)
    assert threads.few == 1 or threads.few * workers <= cores - 1
    assert threads.most == 1 or threads.most * workers <= cores
    assert threads.few <= threads.most


OURS = {"OMP_NUM_THREADS": "3", "TS_WORKER_CORES": "4"}


@pytest.mark.parametrize(
    ("base", "hidden", "expected"),
    [
        pytest.param({}, None, OURS | {"GOMP_SPINCOUNT": "5000"}, id="not set"),
        pytest.param({"OMP_NUM_THREADS": "7"}, None, {"OMP_NUM_THREADS": "7", "GOMP_SPINCOUNT": "5000"}, id="set"),
        pytest.param({"OMP_NUM_THREADS": "7"}, "OMP_.*", OURS | {"GOMP_SPINCOUNT": "5000"}, id="set and hidden"),
        pytest.param({"GOMP_SPINCOUNT": "1"}, None, OURS | {"GOMP_SPINCOUNT": "1"}, id="how they wait is set"),
        pytest.param({"OMP_WAIT_POLICY": "ACTIVE"}, None, OURS | {"OMP_WAIT_POLICY": "ACTIVE"}, id="by its policy"),
    ],
)
def test_the_environment_names_the_threads(base: dict[str, str], hidden: str | None, expected: dict[str, str]) -> None:
    assert worker_environment(base, hidden=hidden, gpus=(), threads=Threads(3, 4)) == expected
