"""The share of the cores that a worker computes with, and the environment that tells it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.workers.spawn_local import worker_environment
from torchserve.core.workers.threads import available_cores, parse_quota, threads_per_worker


@pytest.mark.parametrize(
    ("workers", "cores", "threads"),
    [
        (1, 1, 1),
        (1, 2, 1),
        (1, 4, 3),
        (1, 16, 15),
        (2, 16, 7),
        (4, 8, 1),
        (16, 8, 1),
        (1, 0.5, 1),
        (1, 3.5, 2),
        (0, 4, 3),
    ],
)
def test_the_front_end_keeps_a_core_and_the_workers_share_the_rest(workers: int, cores: float, threads: int) -> None:
    assert threads_per_worker(workers, cores) == threads


@given(st.integers(1, 64), st.floats(0.1, 512))
def test_workers_never_take_more_than_the_machine_has(workers: int, cores: float) -> None:
    threads = threads_per_worker(workers, cores)
    assert threads == 1 or threads * workers <= cores - 1


@pytest.mark.parametrize(
    ("text", "cores"), [("200000 100000\n", 2.0), ("50000 100000", 0.5), ("max 100000\n", math.inf)]
)
def test_a_container_quota_is_read(text: str, cores: float) -> None:
    assert parse_quota(text) == cores


@pytest.mark.parametrize("text", ["", "x", "100", "0 100000", "-1 100000", "1 0", "1 x"])
def test_what_is_no_quota_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_quota(text)


def test_this_machine_has_a_core() -> None:
    assert 0 < available_cores() < math.inf


@pytest.mark.parametrize(
    ("base", "hidden", "expected"),
    [
        pytest.param({}, None, "3", id="not set"),
        pytest.param({"OMP_NUM_THREADS": "7"}, None, "7", id="set for the server"),
        pytest.param({"OMP_NUM_THREADS": "7"}, "OMP_.*", "3", id="set and hidden"),
    ],
)
def test_the_environment_names_the_threads(base: dict[str, str], hidden: str | None, expected: str) -> None:
    assert worker_environment(base, hidden=hidden, gpus=(), threads=3)["OMP_NUM_THREADS"] == expected
