from __future__ import annotations

import pytest

from torchserve.scheduler.backoff import Backoff


def test_delays_are_torchserves():
    backoff = Backoff(max_retry=1e9)
    assert [backoff.next(0.0) for _ in range(18)] == [
        1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597, 1597,
    ]  # fmt: skip


def test_gives_up_when_the_run_has_lasted_max_retry():
    backoff = Backoff(max_retry=10.0)
    assert [backoff.next(now) for now in (100.0, 101.0, 109.9, 110.0, 110.1)] == [1, 1, 2, None, None]


def test_reset_begins_a_new_run():
    backoff = Backoff(max_retry=10.0)
    assert [backoff.next(now) for now in (100.0, 101.0, 105.0)] == [1, 1, 2]
    backoff.reset()
    assert [backoff.next(now) for now in (500.0, 509.0, 510.0)] == [1, 1, None]


def test_no_retry_at_all():
    assert Backoff(max_retry=0).next(5.0) is None


@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_a_bad_limit_is_refused(value: float):
    with pytest.raises(ValueError, match=r"max_retry .*(-1\.0|nan)"):
        Backoff(value)
