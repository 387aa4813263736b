"""Schedules, statistics, payloads, checks, and when windows agree: all without a socket."""

from __future__ import annotations

import itertools
import math
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.cli.loadgen.arrivals import bursty, poisson, recorded, spike
from torchserve.cli.loadgen.checks import Expected, any_answer, echo, same
from torchserve.cli.loadgen.histogram import Histogram
from torchserve.cli.loadgen.payload import Payload, order, read_payloads
from torchserve.cli.loadgen.recovery import recovery
from torchserve.cli.loadgen.scenario import Open, share, split
from torchserve.cli.loadgen.steady import Window, steady
from torchserve.cli.loadgen.tally import Tally

seconds = st.floats(0, 1e5, allow_nan=False)


@given(st.lists(seconds, min_size=1), st.floats(0.001, 1))
def test_a_quantile_is_off_by_a_thousandth_at_most(readings: list[float], wanted: float) -> None:
    histogram = Histogram()
    for reading in readings:
        histogram.add(reading)
    exact = sorted(readings)[math.ceil(wanted * len(readings)) - 1]
    found = histogram.quantile(wanted)
    assert found == pytest.approx(exact, rel=1.1e-3, abs=1.1e-9)
    assert histogram.mean == pytest.approx(sum(readings) / len(readings))
    assert histogram.longest == max(readings)


@given(st.lists(seconds), st.lists(seconds))
def test_merged_histograms_are_one_of_all(left: list[float], right: list[float]) -> None:
    a, b, both = Histogram(), Histogram(), Histogram()
    for reading in left:
        a.add(reading)
        both.add(reading)
    for reading in right:
        b.add(reading)
        both.add(reading)
    a.merge(pickle.loads(pickle.dumps(b)))
    assert (a.bins, a.count, a.longest) == (both.bins, both.count, both.longest)


@pytest.mark.parametrize(
    ("count", "share_", "there"),
    [(99, 0.9, False), (100, 0.9, True), (999, 0.99, False), (1000, 0.99, True), (10_000, 0.999, True)],
)
def test_a_tail_needs_ten_readings_beyond_it(count: int, share_: float, there: bool) -> None:
    histogram = Histogram()
    for number in range(count):
        histogram.add(number)
    assert (histogram.tail(share_) is not None) is there


def test_an_empty_histogram_has_no_figures() -> None:
    assert (Histogram().mean, Histogram().quantile(0.5), Histogram().tail(0.5)) == (None, None, None)


@given(st.integers(), st.sampled_from(["poisson", "bursty"]))
def test_arrivals_ascend_and_a_seed_gives_the_same(seed: int, kind: str) -> None:
    load = Open(50.0, kind)
    times = list(itertools.islice(load.times(seed), 200))
    assert times == sorted(times)
    assert times == list(itertools.islice(load.times(seed), 200))
    assert times != list(itertools.islice(load.warm_times(seed), 200))


@pytest.mark.parametrize("arrivals", [poisson(100.0, 7), bursty(100.0, 7, sojourn=0.1)])
def test_arrivals_come_at_their_rate(arrivals: object) -> None:
    times = list(itertools.islice(arrivals, 40_000))  # type: ignore[call-overload]
    assert 40_000 / times[-1] == pytest.approx(100.0, rel=0.05)


def test_a_spike_is_twice_the_rate_and_no_more() -> None:
    times = list(itertools.takewhile(lambda at: at < 300, spike(100.0, 5, 100.0, 200.0)))
    counts = [sum(begin <= at < begin + 100 for at in times) for begin in (0, 100, 200)]
    assert counts == pytest.approx([10_000, 20_000, 10_000], rel=0.05)
    assert times == sorted(times)
    assert times == list(itertools.takewhile(lambda at: at < 300, Open(100.0, "spike", spike=(100.0, 200.0)).times(5)))


GOOD, BAD, LOST = [100, 100], [100, 98], [100, 0]


@pytest.mark.parametrize(
    ("seconds", "after"),
    [
        ([GOOD, LOST, GOOD, GOOD, GOOD], 0),
        ([GOOD, LOST, BAD, GOOD, GOOD], 1),
        ([GOOD, LOST, GOOD, BAD, GOOD], 2),
        ([GOOD, LOST, LOST, LOST, BAD], None),
        ([LOST, LOST, [100, 99], [0, 0], GOOD], 0),
    ],
)
def test_how_long_a_spike_is_felt(seconds: list[list[int]], after: int | None) -> None:
    assert recovery(dict(enumerate(seconds)), 2, 5) == after


def test_bursts_are_burstier_than_poisson() -> None:
    def spread(times: list[float]) -> float:
        counts = [0] * (int(times[-1]) + 1)
        for at in times:
            counts[int(at)] += 1
        mean = sum(counts) / len(counts)
        return sum((count - mean) ** 2 for count in counts) / len(counts) / mean

    assert spread(list(itertools.islice(bursty(100.0, 1), 50_000))) > 3 * spread(
        list(itertools.islice(poisson(100.0, 1), 50_000))
    )


@given(st.lists(seconds.map(lambda s: round(s, 3)), min_size=2, unique=True), st.floats(0.1, 1000))
def test_a_trace_is_replayed_at_the_rate(
    tmp_path_factory: pytest.TempPathFactory, times: list[float], rate: float
) -> None:
    path = tmp_path_factory.mktemp("trace") / "trace"
    path.write_text("\n".join(map(str, times)))
    replayed = list(recorded(path, rate))
    assert len(replayed) == len(times)
    assert replayed[0] == 0
    assert replayed[-1] == pytest.approx((len(times) - 1) / rate)
    assert replayed == sorted(replayed)


@given(st.integers(1, 9), st.integers(0, 100))
def test_the_parts_are_the_whole(parts: int, whole: int) -> None:
    times = [share(iter(range(whole)), place, parts) for place in range(parts)]
    assert sorted(itertools.chain(*times)) == list(range(whole))
    counts = [split(whole, place, parts) for place in range(parts)]
    assert sum(counts) == whole
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("windows", "agree"),
    [
        ([(100, 1), (101, 1), (99, 1)], True),
        ([(1, 9), (100, 1), (101, 1), (99, 1)], True),
        ([(100, 1), (101, 1)], False),
        ([(100, 1), (130, 1), (100, 1)], False),
        ([(100, 1), (100, 1.5), (100, 1)], False),
        ([(0, None), (0, None), (0, None)], False),
        ([(100, 1), (100, None), (100, 1)], False),
    ],
)
def test_when_windows_agree(windows: list[tuple[float, float | None]], agree: bool) -> None:
    assert steady([Window(*each) for each in windows], 0.1) is agree


@given(st.lists(st.floats(1, 1e6), min_size=3), st.floats(0.1, 10))
def test_agreement_does_not_depend_on_the_unit(rates: list[float], factor: float) -> None:
    windows = [Window(rate, 1.0) for rate in rates]
    if steady(windows, 0.1):
        assert steady([Window(w.rate * factor, factor) for w in windows], 0.1 + 1e-9)


@given(st.integers(1, 5000), st.integers(0, 9))
def test_each_payload_is_sent_as_often_as_any_other(count: int, seed: int) -> None:
    drawn = order(count, seed)
    assert len(drawn) % count == 0
    assert {drawn.count(place) for place in (0, count // 2, count - 1)} == {len(drawn) // count}


def test_payloads_of_a_folder(tmp_path: Path) -> None:
    for name, text in (("b.json", "{}"), ("sub/a.png", "png"), (".hidden", "no"), (".git/x", "no")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = read_payloads([tmp_path, tmp_path / "b.json"])
    assert [(Path(each.name).name, each.body, each.content_type) for each in found] == [
        ("b.json", b"{}", "application/json"), ("a.png", b"png", "image/png"), ("b.json", b"{}", "application/json"),
    ]  # fmt: skip
    assert {each.content_type for each in read_payloads([tmp_path], "x/y")} == {"x/y"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no file"):
        read_payloads([tmp_path / "empty"])
    with pytest.raises(OSError):
        read_payloads([tmp_path / "missing"])


def test_a_request_says_how_long_it_is() -> None:
    assert Payload("p", b"four").request("/x", "h:1", {"A": "b"}).endswith(b"Content-Length: 4\r\nA: b\r\n\r\nfour")


@pytest.mark.parametrize(
    ("answer", "expected", "verdict"),
    [
        (b"a", b"a", True),
        (b"a", b"b", False),
        (b"[1.0001, 2]", b"[1.0002, 2]", True),
        (b"[1.01, 2]", b"[1.02, 2]", False),
        (b'{"a": 1}', b'{"b": 1}', False),
        (b"[1]", b"[1, 2]", False),
        (b"true", b"1", False),
        (b'{"a": "x", "b": [0.5]}', b'{"b": [0.50001], "a": "x"}', True),
    ],
)
def test_what_is_the_same(answer: bytes, expected: bytes, verdict: bool) -> None:
    assert same(answer, expected) is verdict
    check = pickle.loads(pickle.dumps(Expected([b"zero", expected])))
    assert [check(1, b"", answer) for _ in range(2)] == [verdict] * 2
    assert not check(0, b"", answer)


def test_checks_without_a_known_answer() -> None:
    assert echo(0, b"x", b"x")
    assert not echo(0, b"x", b"y")
    assert any_answer(0, b"x", b"y")


def test_tallies_add_up() -> None:
    one, other = (
        Tally(offered=2, good=1, last=5.0, busy=1.0, busiest=1.0),
        Tally(offered=3, waited=1, last=4.0, busy=2.0, busiest=2.0),
    )
    one.count("right")
    for _ in range(7):
        other.count("refused", "503")
    other.statuses[503] = 7
    one.by_second, other.by_second = {0: [1, 1]}, {0: [2, 1], 1: [1, 0]}
    one.merge(pickle.loads(pickle.dumps(other)))
    assert (one.offered, one.good, one.waited, one.last, one.busy, one.busiest) == (5, 1, 1, 5.0, 3.0, 2.0)
    assert one.by_second == {0: [3, 2], 1: [1, 0]}
    assert (one.counts, one.statuses, len(one.texts)) == ({"right": 1, "refused": 7}, {503: 7}, 5)
