"""The whole generator, processes and all; and which of its runs are to be believed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace

import pytest

from torchserve.cli.loadgen import checks
from torchserve.cli.loadgen.generator import GeneratorError, drive
from torchserve.cli.loadgen.outcome import Outcome
from torchserve.cli.loadgen.payload import Payload
from torchserve.cli.loadgen.scenario import Closed, Open, Scenario
from torchserve.cli.loadgen.steady import Window
from torchserve.cli.loadgen.tally import Tally
from torchserve.core.config.address import Address

from .faulty import HANG_UP, Faulty, echo, faulty

BODIES = tuple(Payload(f"p{i}", b"body %d" % i) for i in range(5))


@pytest.fixture
def server() -> Iterator[Faulty]:
    started: Future[Faulty] = Future()
    over = asyncio.Event()
    loop = asyncio.new_event_loop()

    async def run() -> None:
        async with faulty() as made:
            started.set_result(made)
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    yield started.result(60)
    loop.call_soon_threadsafe(over.set)
    thread.join()
    loop.close()


def a_scenario(address: Address, load: Closed | Open) -> Scenario:
    return Scenario(
        address, "/x", BODIES, load, seconds=0.3, slo=10.0, check=checks.echo, window=0.1, tolerance=0.9, most_warmup=60.0,
        most_late=60.0, processes=2,
    )  # fmt: skip


@pytest.mark.parametrize("load", [Closed(3), Open(200.0)], ids=str)
def test_processes_load_together_after_a_warm_up(server: Faulty, load: Closed | Open) -> None:
    outcome = drive(a_scenario(server.address, load))
    assert outcome.faults() == []
    assert outcome.settled
    assert len(outcome.windows) >= 3
    assert outcome.processes == 2
    assert outcome.tally.right == outcome.tally.offered == outcome.tally.good > 0
    assert len(server.asked) > outcome.tally.offered, "the warm-up doesn't count"
    assert outcome.tally.busiest < outcome.tally.busy
    assert outcome.seconds == 0.3


def test_so_many_requests_and_no_more(server: Faulty) -> None:
    outcome = drive(replace(a_scenario(server.address, Closed(4)), requests=101, most_warmup=0.0))
    assert outcome.tally.counts == {"right": 101}
    assert len(server.asked) == 101
    assert outcome.rate == outcome.offered == 101 / outcome.seconds


def test_a_trace_is_as_long_as_it_is(server: Faulty, tmp_path: object) -> None:
    trace = tmp_path / "trace"  # type: ignore[operator]
    trace.write_text("10\n11\n11\n12\n14\n")
    outcome = drive(replace(a_scenario(server.address, Open(40.0, str(trace))), most_warmup=0.0, seconds=60.0))
    assert outcome.seconds == pytest.approx(0.1)
    assert outcome.tally.counts == {"right": 4}, "the fifth is due when the time is over"


def test_a_spike_is_counted_by_the_second(server: Faulty) -> None:
    load = Open(100.0, "spike", spike=(0.4, 0.7))
    outcome = drive(replace(a_scenario(server.address, load), most_warmup=0.0, seconds=1.2))
    assert sum(due for due, _ in outcome.tally.by_second.values()) == outcome.tally.offered
    assert sum(good for _, good in outcome.tally.by_second.values()) == outcome.tally.good == outcome.tally.offered
    assert outcome.recovery == 0


def test_a_run_of_failures_is_no_measurement(server: Faulty) -> None:
    server.script = lambda number, body: HANG_UP if number % 2 else echo(number, body)
    outcome = drive(replace(a_scenario(server.address, Closed(2)), requests=20, most_warmup=0.0))
    assert ["10 of 20 requests failed (10 connection lost)" in fault for fault in outcome.faults()] == [True]


def test_no_server_is_an_error() -> None:
    with pytest.raises(GeneratorError, match=r"no connection: .*111"):
        drive(a_scenario(Address("127.0.0.1", 1), Closed(1)))


def an_outcome(load: Closed | Open, *, late: float = 0.0, settled: bool = True, **counted: object) -> Outcome:
    tally = Tally(offered=1000, ended=1000, good=990, **counted)  # type: ignore[arg-type]
    for _ in range(1000):
        tally.count("right")
        tally.latency.add(0.01)
        tally.late.add(late)
    scenario = Scenario(Address("h", 1), "/x", BODIES, load, slo=0.1, seconds=10.0)
    return Outcome(scenario, tally, 10.0, 3.0, [Window(100.0, 0.01)], settled, 1)


@pytest.mark.parametrize(
    ("outcome", "faults", "remarks"),
    [
        (an_outcome(Open(100.0), late=0.004), [], []),
        (an_outcome(Open(100.0), late=0.006), ["the generator was late: by 6.00 ms at p99, 5.00 ms are allowed"], []),
        (an_outcome(Closed(4), late=0.006), [], []),
        (an_outcome(Closed(4), busiest=9.9), [], ["used a whole core"]),
        (an_outcome(Open(9.0), busiest=9.9), [], []),
        (an_outcome(Open(9.0), settled=False), [], ["did not settle in 3 s"]),
        (an_outcome(Open(9.0, connections=7), waited=3), [], ["3 of 1000 requests waited for one of 7 connections"]),
        (an_outcome(Open(9.0), counts={"wrong answer": 2}), ["2 of 1000 requests failed (2 wrong answer)"], []),
        (an_outcome(Open(9.0), counts={"refused": 2}), [], []),
    ],
)
def test_what_is_to_be_believed(outcome: Outcome, faults: list[str], remarks: list[str]) -> None:
    for said, expected in ((outcome.faults(), faults), (outcome.remarks(), remarks)):
        assert len(said) == len(expected)
        assert all(text in whole for text, whole in zip(expected, said, strict=True)), said
    told = json.loads(json.dumps(outcome.as_json()))
    assert told["valid"] is not bool(faults)
    assert told["requests_per_second"] == {"offered": 100.0, "answered": 100.0, "within_slo": 99.0}
    assert told["latency_ms"]["p99"] == pytest.approx(10.0, rel=0.002)
    assert told["latency_ms"]["p99.9"] is None


def test_nothing_asked_is_no_measurement() -> None:
    scenario = Scenario(Address("h", 1), "/x", BODIES, Closed(1))
    assert Outcome(scenario, Tally(), 1.0, 0.0, [], True, 1).faults() == ["no request was made"]
