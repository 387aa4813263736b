"""Where the time of a slow request went, in words."""

from __future__ import annotations

import pytest

from torchserve.core.models.slow_request import account_of
from torchserve.core.wire.messages import Timing
from torchserve.scheduler.job import Batch, Job, ReleaseReason

from ..doubles import Sink

ANSWERED = "it was answered"
HOOKS = Timing(0.9, (0.1, 0.8), (("preprocess", 0.1, 0.2), ("inference", 0.2, 0.8)))


class Worker:
    name = "W-9000-m_1.0"
    device = "cpu"


def job(formed: float | None, started: float | None, timing: Timing | None = None) -> Job:
    made = Job("id", None, Sink(), arrived=10.0)
    if formed is not None:
        made.batch = Batch(1, (made, made), ReleaseReason.DELAY, formed, Worker(), timing=timing)  # type: ignore[arg-type]
        made.started = started
    return made


@pytest.mark.parametrize(
    ("given", "seconds", "end", "told"),
    [
        (
            job(10.5, 10.5, HOOKS), 2.25, ANSWERED,
            "250 ms until it was queued, 500 ms in the queue, 1500 ms in W-9000-m_1.0 until it was answered, in a batch of"
            " 2 (delay): handler 700 ms (preprocess 100 ms, inference 600 ms)",
        ),
        (
            job(10.5, 11.0), 2.0, ANSWERED,
            "500 ms in the queue, 500 ms behind the batch before it, 1000 ms in W-9000-m_1.0 until it was answered, in a"
            " batch of 2 (delay)",
        ),
        (
            job(10.5, 10.5, Timing(1.0, (0.0, 1.0))), 2.0, "its client left",
            "500 ms in the queue, 1500 ms in W-9000-m_1.0 until its client left, in a batch of 2 (delay): handler 1000 ms",
        ),
        (job(10.5, None), 2.0, "its client left", "500 ms in the queue, 1500 ms behind the batch before it until its client left"),
        (job(None, None), 2.0, "it failed with RequestExpired", "2000 ms in the queue until it failed with RequestExpired"),
    ],
)  # fmt: skip
def test_each_part_is_named_with_its_time(given: Job, seconds: float, end: str, told: str) -> None:
    assert account_of(given, seconds, 12.0, end) == told
