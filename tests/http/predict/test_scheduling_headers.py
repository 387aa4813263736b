"""Headers that tell how an answer was scheduled: only where the settings ask for them, and the request ran."""

from __future__ import annotations

import pytest

from torchserve.core.errors import HandlerFailed
from torchserve.core.payload import Reply, Scheduled

from .test_prediction import Harness

RAN = Scheduled(0.0123456, 4, "free_worker", "W-9000-m_1.0", "NVIDIA H200", 0.25)
TOLD = {
    "x-torchserve-queue-ms": "12.346",
    "x-torchserve-batch-size": "4",
    "x-torchserve-batch-cause": "free_worker",
    "x-torchserve-worker": "W-9000-m_1.0",
    "x-torchserve-device": "NVIDIA H200",
    "x-torchserve-handler-ms": "250.000",
}


def told(harness: Harness) -> dict[str, str]:
    lines, _ = harness.answer()
    fields = [line.split(": ", 1) for line in lines[1:]]
    names = [name.lower() for name, _ in fields]
    assert len(names) == len(set(names)), names
    return {name: value for name, value in fields if name.lower().startswith("x-torchserve")}


def asked(*, on: bool = True, scheduled: Scheduled | None = RAN) -> Harness:
    harness = Harness()
    harness.context.scheduling_headers = on
    harness.data.scheduled = scheduled
    return harness


@pytest.mark.parametrize(
    "outcome", [Reply(b"out"), Reply(b"", 204), Reply(b"out", 201, "", "a/b"), HandlerFailed("broke", 503)]
)
@pytest.mark.parametrize(
    ("on", "scheduled", "expected"), [(True, RAN, TOLD), (False, RAN, {}), (True, None, {})]
)  # fmt: skip
def test_answers_and_errors_tell_it(
    outcome: Reply | Exception, on: bool, scheduled: Scheduled | None, expected: dict[str, str]
) -> None:
    harness = asked(on=on, scheduled=scheduled)
    prediction = harness.open()
    prediction.submit(b"")
    if isinstance(outcome, Exception):
        prediction.fail(outcome)
    else:
        prediction.done(outcome)
    assert told(harness) == expected


def test_a_streamed_answer_tells_what_is_known_at_its_beginning() -> None:
    harness = asked(scheduled=Scheduled(0.0, 1, "full", "W", "cpu"))
    prediction = harness.open()
    prediction.submit(b"")
    for chunk in (b"a", b"b"):
        prediction.chunk(Reply(chunk))
    prediction.done(Reply(b"c"))
    assert told(harness) == {
        "x-torchserve-queue-ms": "0.000",
        "x-torchserve-batch-size": "1",
        "x-torchserve-batch-cause": "full",
        "x-torchserve-worker": "W",
        "x-torchserve-device": "cpu",
    }
    assert harness.answer()[1] == b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n"


def test_what_never_was_queued_tells_nothing() -> None:
    harness = asked()
    harness.open("/predictions/nobody").submit(b"")
    assert told(harness) == {}


def test_a_handlers_own_headers_stay_unless_they_have_these_names() -> None:
    harness = asked()
    prediction = harness.open()
    prediction.submit(b"")
    prediction.done(Reply(b"", headers=(("X-TorchServe-Worker", "me"), ("X-Mine", "1"))))
    assert told(harness) == TOLD
    assert "X-Mine: 1" in harness.answer()[0]
