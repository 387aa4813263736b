"""The exporter's thread: what it sends, what it loses, and that nobody ever waits for it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence

import pytest

from torchserve.core.tracing.collectors import HttpCollector
from torchserve.core.tracing.exporter import MOST_SPANS, CollectorFailed, Exporter, steadied
from torchserve.core.tracing.span import Span
from torchserve.core.tracing.trace_notes import Nanoseconds

SOON = 60.0


class Record:
    def __init__(self, name: str, count: int = 1) -> None:
        self._name, self._count = name, count

    def spans(self, nanoseconds: Nanoseconds) -> list[Span]:
        if self._name == "broken":
            raise ValueError(self._name)
        return [Span(self._name, "1" * 32, "2" * 16, "", 0, 0) for _ in range(self._count)]


class Collector:
    """Takes spans once it is opened; fails as often as it is told to."""

    def __init__(self) -> None:
        self.taken: list[list[str]] = []
        self.failures: list[Exception] = []
        self.entered = threading.Event()
        self.open = threading.Event()
        self.open.set()
        self.closed = threading.Event()
        self.some = threading.Condition()

    def send(self, spans: Sequence[Span]) -> None:
        self.entered.set()
        assert self.open.wait(SOON)
        if self.failures:
            raise self.failures.pop(0)
        with self.some:
            self.taken.append([span.name for span in spans])
            self.some.notify_all()

    def close(self) -> None:
        self.closed.set()

    def until(self, count: int) -> None:
        with self.some:
            assert self.some.wait_for(lambda: sum(map(len, self.taken)) >= count, SOON)


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.open.set()


def exporter(collector: Collector, most: int = 100) -> Exporter:
    return Exporter(collector, most=most, delay=0.0, pauses=(0.0, 0.0))


def test_what_is_offered_is_sent_in_batches_of_a_bounded_size(collector: Collector) -> None:
    made = exporter(collector)
    collector.open.clear()
    made.offer(Record("first"))
    assert collector.entered.wait(SOON)
    for number in range(3):
        made.offer(Record(str(number), MOST_SPANS // 2))
    collector.open.set()
    collector.until(1 + 3 * (MOST_SPANS // 2))
    made.close(SOON)
    assert [len(batch) for batch in collector.taken] == [1, MOST_SPANS, MOST_SPANS // 2]
    assert (made.sent, made.overflowed, made.unsent) == (1 + 3 * (MOST_SPANS // 2), 0, 0)
    assert collector.closed.is_set()


def test_a_collector_that_hangs_loses_records_and_holds_nobody_up(collector: Collector) -> None:
    made = exporter(collector, most=3)
    collector.open.clear()
    made.offer(Record("held"))
    assert collector.entered.wait(SOON)
    for number in range(10):
        made.offer(Record(str(number)))
    assert made.overflowed == 7
    made.close(0.0)  # which does not wait for it either
    collector.open.set()
    collector.until(4)
    assert collector.taken == [["held"], ["0", "1", "2"]]


def test_a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    made = exporter(collector)
    again = CollectorFailed("busy", again=True)
    collector.failures = [again, again]
    made.offer(Record("a"))
    collector.until(1)
    collector.failures = [again, again, again, CollectorFailed("no", again=False), RuntimeError("broken")]
    for name in ("b", "c", "d", "e"):
        before = made.sent + made.unsent
        made.offer(Record(name))
        while made.sent + made.unsent == before:
            threading.Event().wait(0.001)
    made.close(SOON)
    assert collector.taken == [["a"], ["e"]]
    assert (made.sent, made.unsent) == (2, 3)
    assert len([each for each in caplog.messages if "not taken" in each]) == 1


def test_a_record_that_makes_no_spans_does_not_end_the_thread(collector: Collector) -> None:
    made = exporter(collector)
    made.offer(Record("broken"))
    made.offer(Record("whole"))
    collector.until(1)
    made.close(SOON)
    assert (collector.taken[-1], made.overflowed) == (["whole"], 1)


def test_what_is_there_at_the_end_is_still_sent(collector: Collector) -> None:
    made = Exporter(collector, delay=3600.0)
    made.offer(Record("last"))
    made.close(SOON)
    assert collector.taken == [["last"]]


@pytest.mark.parametrize(("now", "used"), [(100, 0), (9_999_999, 0), (-9_999_999, 0), (10_000_000, 10_000_000)])
def test_spans_agree_on_the_time_unless_the_clock_was_set(now: int, used: int) -> None:
    assert steadied(0, now) == used


def test_a_collector_that_hangs_holds_nobody_up_and_is_left_behind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        made = Exporter(HttpCollector(f"http://127.0.0.1:{deaf.getsockname()[1]}", {}, timeout=SOON), most=3, delay=0.0)
        made.offer(Record("first"))
        connection, _ = deaf.accept()
        with connection:
            assert connection.recv(1)  # it has sent, and gets no answer
            for _ in range(5):
                made.offer(Record("next"))
            assert made.overflowed == 2
            made.close(0.05)
            assert made._thread.is_alive()
    made._thread.join(SOON)
    assert (made.sent, made.unsent, made._thread.is_alive()) == (0, 4, False)
