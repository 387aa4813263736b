"""LoadWait: what a request is told of the load that it waited for."""

from __future__ import annotations

import pytest

from torchserve.core.models.load_wait import LoadWait
from torchserve.core.payload import Reply

WAITED = (("x-torchserve-load-wait-ms", "2500.000"), ("x-torchserve-load-wait-cause", "unloaded"))


class Loads:
    cause = "unloaded"

    def __init__(self) -> None:
        self.outage = 7.0
        self.counted: list[float] = []

    def waited(self, seconds: float, /) -> None:
        self.counted.append(seconds)


class Sink:
    def __init__(self) -> None:
        self.got: list[object] = []

    def chunk(self, item: object) -> None:
        self.got.append(item)

    def done(self, item: object) -> None:
        self.got.append(item)

    def fail(self, error: Exception) -> None:
        self.got.append(error)


def waiting() -> tuple[LoadWait, Loads, Sink]:
    """A request that has waited for 2.5 s."""
    loads, sink = Loads(), Sink()
    made = LoadWait(sink, loads)
    loads.outage += 2.5
    return made, loads, sink


def test_the_answer_says_how_long_and_why_whatever_the_handler_says() -> None:
    made, loads, sink = waiting()
    made.done(Reply(b"a", headers=(("X-Torchserve-Load-Wait-Ms", "0"), ("x", "y"))))
    assert sink.got == [Reply(b"a", headers=(("x", "y"), *WAITED))]
    assert loads.counted == [2.5]


def test_the_first_piece_of_a_streamed_answer_says_it_alone() -> None:
    made, loads, sink = waiting()
    made.chunk(Reply(b"a"))
    loads.outage += 1.0  # while the client takes its time
    made.chunk(Reply(b"b"))
    made.done(Reply(b"c"))
    assert sink.got == [Reply(b"a", headers=WAITED), Reply(b"b"), Reply(b"c")]
    assert loads.counted == [2.5]


def test_a_request_that_fails_has_waited_as_well() -> None:
    made, loads, sink = waiting()
    error = ValueError("late")
    made.fail(error)
    assert sink.got == [error]
    assert loads.counted == [2.5]
    made, loads, _ = waiting()
    made.chunk(Reply(b"a"))
    made.fail(error)
    assert loads.counted == [2.5]


@pytest.mark.parametrize("passed", [0.0, 0.0005])
def test_an_answer_that_waited_for_no_load_stays_as_it_is(passed: float) -> None:
    """As one that a cache has kept, while the model is not loaded."""
    loads, sink = Loads(), Sink()
    made = LoadWait(sink, loads)
    loads.outage += passed
    reply = Reply(b"a")
    made.done(reply)
    assert sink.got[0] is reply
    assert loads.counted == []


def test_what_is_no_reply_is_passed_on() -> None:
    made, _, sink = waiting()
    made.done(3)
    assert sink.got == [3]
