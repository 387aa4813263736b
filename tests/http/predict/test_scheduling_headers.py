"""Headers that tell how an answer was scheduled: only where the settings ask for them, and the request ran."""

from __future__ import annotations

import pytest

from torchserve.core.errors import HandlerFailed
from torchserve.core.payload import Reply, Scheduled

from .test_prediction import Desk

RAN = Scheduled(0.0123456, 4, "free_worker", "W-9000-m_1.0", "NVIDIA H200", 0.25)
TOLD = {
    "x-torchserve-queue-ms": "12.346",
    "x-torchserve-batch-size": "4",
    "x-torchserve-batch-cause": "free_worker",
    "x-torchserve-worker": "W-9000-m_1.0",
    "x-torchserve-device": "NVIDIA H200",
    "x-torchserve-handler-ms": "250.000",
}


def told(desk: Desk) -> dict[str, str]:
    lines, _ = desk.answer()
    fields = [line.split(": ", 1) for line in lines[1:]]
    names = [name.lower() for name, _ in fields]
    assert len(names) == len(set(names)), names
    return {name: value for name, value in fields if name.lower().startswith("x-torchserve")}


def asked(*, on: bool = True, scheduled: Scheduled | None = RAN) -> Desk:
    desk = Desk()
    desk.context.scheduling_headers = on
    desk.data.scheduled = scheduled
    return desk


@pytest.mark.parametrize(
    "outcome", [Reply(b"out"), Reply(b"", 204), Reply(b"out", 201, "", "a/b"), HandlerFailed("broke", 503)]
)
@pytest.mark.parametrize(
    ("on", "scheduled", "expected"), [(True, RAN, TOLD), (False, RAN, {}), (True, None, {})]
)  # fmt: skip
def test_answers_and_errors_tell_it(
    outcome: Reply | Exception, on: bool, scheduled: Scheduled | None, expected: dict[str, str]
) -> None:
    desk = asked(on=on, scheduled=scheduled)
    prediction = desk.open()
    prediction.submit(b"")
    if isinstance(outcome, Exception):
        prediction.fail(outcome)
    else:
        prediction.done(outcome)
    assert told(desk) == expected


def test_a_streamed_answer_tells_what_is_known_at_its_beginning() -> None:
    desk = asked(scheduled=Scheduled(0.0, 1, "full", "W", "cpu"))
    prediction = desk.open()
    prediction.submit(b"")
    for chunk in (b"a", b"b"):
        prediction.chunk(Reply(chunk))
    prediction.done(Reply(b"c"))
    assert told(desk) == {
        "x-torchserve-queue-ms": "0.000",
        "x-torchserve-batch-size": "1",
        "x-torchserve-batch-cause": "full",
        "x-torchserve-worker": "W",
        "x-torchserve-device": "cpu",
    }
    assert desk.answer()[1] == b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n"


def test_what_never_was_queued_tells_nothing() -> None:
    desk = asked()
    desk.open("/predictions/nobody").submit(b"")
    assert told(desk) == {}


def test_a_handlers_own_headers_stay_unless_they_have_these_names() -> None:
    desk = asked()
    prediction = desk.open()
    prediction.submit(b"")
    prediction.done(Reply(b"", headers=(("X-TorchServe-Worker", "me"), ("X-Mine", "1"))))
    assert told(desk) == TOLD
    assert "X-Mine: 1" in desk.answer()[0]
