"""Two scrapes into the load of models and GPUs: tables of texts and numbers."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.cli.load import GpuLoad, TextLoad, gpu_loads, model_loads, text_loads
from torchserve.cli.scrape import Scrape, quantile, read_scrape
from torchserve.core.metrics.family import Family


@pytest.mark.parametrize(
    ("line", "name", "labels", "value"),
    [
        ("up 1", "up", {}, 1.0),
        ('a{x="1",y="2",} 3.0', "a", {"x": "1", "y": "2"}, 3.0),
        ('a{x="1",y="2"} 1.5447791192E7', "a", {"x": "1", "y": "2"}, 15447791.192),
        (r'a{x="q\"\\\n}, b=",} NaN', "a", {"x": 'q"\\\n}, b='}, None),
        ('a_bucket{le="+Inf",} +Inf 1795343572', "a_bucket", {"le": "+Inf"}, inf),
    ],
)
def test_a_line(line: str, name: str, labels: dict[str, str], value: float | None) -> None:
    ((found, number),) = read_scrape(line, 0.0).of(name)
    assert found == labels
    assert number == value or (value is None and number != number)


@pytest.mark.parametrize("line", ["", "# HELP a b 1", "a", "a{ 1", "a one", "1a 2", '{x="1"} 2'])
def test_what_is_no_line(line: str) -> None:
    assert read_scrape(line, 0.0).samples == {}


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    read_scrape(text, 0.0)


@given(st.text(), st.floats(allow_nan=False))
def test_what_the_server_writes_is_read(label: str, value: float) -> None:
    family = Family("gauge", "a", "help", ("x",))
    family.series(label).update(value)
    if len(family.text().splitlines()) == 3:  # a label with other ends of a line than \n is the one thing that isn't
        ((labels, found),) = read_scrape(family.text(), 0.0).of("a")
        assert labels == {"x": label}
        assert found == value


@pytest.mark.parametrize(
    ("share", "buckets", "value"),
    [
        (0.5, {}, None),
        (0.5, {1.0: 0, inf: 0}, None),
        (0.5, {1.0: 10}, None),
        (0.5, {1.0: 10, inf: 10}, 0.5),
        (1.0, {1.0: 10, inf: 10}, 1.0),
        (0.5, {1.0: 0, 2.0: 10, inf: 10}, 1.5),
        (0.5, {1.0: 5, 2.0: 10, inf: 10}, 1.0),
        (0.99, {1.0: 50, 2.0: 100, inf: 100}, 1.98),
        (0.99, {1.0: 50, 2.0: 60, inf: 100}, 2.0),
        (0.5, {inf: 4}, 0.0),
    ],
)
def test_quantiles(share: float, buckets: dict[float, float], value: float | None) -> None:
    found = quantile(share, buckets)
    assert found == (value if value is None else pytest.approx(value))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_larger_share_has_no_smaller_quantile(counts: list[int], one: float, other: float) -> None:
    total, buckets = 0, {}
    for place, count in enumerate(counts):
        total += count
        buckets[inf if place == len(counts) - 1 else float(place + 1)] = total
    low, high = sorted((one, other))
    first, second = quantile(low, buckets), quantile(high, buckets)
    assert (first is None) == (second is None) == (total == 0)
    if first is not None and second is not None:
        assert 0.0 <= first <= second + 1e-9 <= len(counts)


OWN = 'model_name="m",model_version="1",'
BEFORE = f"""
torchserve_workers{{{OWN}state="ready",}} 1.0
torchserve_requests_total{{{OWN}}} 100.0
torchserve_requests_failed_total{{{OWN}reason="handler",}} 4.0
torchserve_request_duration_seconds_bucket{{{OWN}le="0.01",}} 50.0
torchserve_request_duration_seconds_bucket{{{OWN}le="+Inf",}} 50.0
torchserve_batch_size_count{{{OWN}}} 10.0
torchserve_batch_size_sum{{{OWN}}} 20.0
"""
NOW = f"""
torchserve_workers{{{OWN}state="ready",}} 1.0
torchserve_workers{{{OWN}state="loading",}} 2.0
torchserve_workers{{{OWN}state="stopping",}} 4.0
torchserve_workers{{{OWN}state="given_up",}} 1.0
torchserve_queue_depth{{{OWN}}} 7.0
torchserve_requests_in_flight{{{OWN}}} 3.0
torchserve_requests_total{{{OWN}}} 150.0
torchserve_requests_failed_total{{{OWN}reason="handler",}} 5.0
torchserve_requests_refused_total{{{OWN}reason="queue_full",}} 4.0
torchserve_request_duration_seconds_bucket{{{OWN}le="0.01",}} 60.0
torchserve_request_duration_seconds_bucket{{{OWN}le="+Inf",}} 60.0
torchserve_batch_size_count{{{OWN}}} 14.0
torchserve_batch_size_sum{{{OWN}}} 34.0
"""


def test_a_model_between_two_scrapes() -> None:
    (found,) = model_loads(read_scrape(BEFORE, 5.0), read_scrape(NOW, 10.0))
    assert (found.model, found.version) == ("m", "1")
    assert (found.workers_ready, found.workers_wanted) == (1, 4), "one that ends is not wanted"
    assert (found.queue_depth, found.in_flight, found.errors) == (7, 3, 9)
    assert (found.requests_per_second, found.errors_per_second) == (10.0, 1.0)
    assert found.p50_ms == pytest.approx(5.0)
    assert found.p99_ms == pytest.approx(9.9)
    assert found.batch_size == 3.5


@pytest.mark.parametrize(
    ("before", "seconds", "rate", "batch"),
    [
        (NOW, 1.0, 0.0, None),  # nothing happened
        ("", 1.0, 150.0, 34 / 14),  # the model is new
        (NOW.replace("150.0", "151.0").replace("14.0", "15.0").replace("34.0", "35.0"), 1.0, 150.0, 34 / 14),  # anew
        (BEFORE, 0.0, 0.0, 3.5),  # no time has gone by
    ],
)
def test_rates(before: str, seconds: float, rate: float, batch: float | None) -> None:
    (found,) = model_loads(read_scrape(before, 5.0), read_scrape(NOW, 5.0 + seconds))
    assert (found.requests_per_second, found.batch_size) == (rate, batch)


def test_models_are_in_order_and_those_that_went_are_not_there() -> None:
    lines = [
        f'torchserve_workers{{model_name="{m}",model_version="{v}",state="ready",}} 1.0' for m, v in ("b1", "a2", "a1")
    ]
    found = model_loads(read_scrape(BEFORE, 0.0), read_scrape("\n".join(lines), 1.0))
    assert [each.model + each.version for each in found] == ["a1", "a2", "b1"]


@pytest.mark.parametrize(
    ("text", "loads"),
    [
        ("", []),
        (
            'GPUMemoryUsed{Level="Host",DeviceId="0",Hostname="h",} 512.0\nGPUMemoryUtilization{DeviceId="0",} 50.0\n'
            'GPUUtilization{DeviceId="10",} 1.0\nGPUUtilization{DeviceId="2",} 2.0\n',
            [GpuLoad("0", 512 << 20, 50.0, None), GpuLoad("2", None, None, 2.0), GpuLoad("10", None, None, 1.0)],
        ),
    ],
)  # fmt: skip
def test_gpus(text: str, loads: list[GpuLoad]) -> None:
    assert gpu_loads(Scrape(0.0, read_scrape(text, 0.0).samples)) == loads


def test_what_language_models_generate() -> None:
    def scrape(at: float, tokens: int, first: int, following: int) -> Scrape:
        own = 'model_name="m",model_version="1.0"'
        return read_scrape(
            "\n".join([
                f"vllm:num_requests_running{{{own}}} 3", f"vllm:num_requests_waiting{{{own}}} 2",
                f"vllm:kv_cache_usage_perc{{{own}}} 0.25", f"vllm:prompt_tokens_total{{{own}}} {2 * tokens}",
                f"vllm:generation_tokens_total{{{own}}} {tokens}",
                f'vllm:time_to_first_token_seconds_bucket{{{own},le="0.1"}} {first}',
                f'vllm:time_to_first_token_seconds_bucket{{{own},le="+Inf"}} {first}',
                f'vllm:inter_token_latency_seconds_bucket{{{own},le="0.02"}} {following}',
                f'vllm:inter_token_latency_seconds_bucket{{{own},le="+Inf"}} {following}',
                'vllm:num_requests_running{model_name="of an engine",engine="0"} 3',
            ]), at,
        )  # fmt: skip

    assert text_loads(scrape(10.0, 100, 0, 0), scrape(12.0, 300, 4, 8)) == [
        TextLoad("m", "1.0", 3, 2, 25.0, 200.0, 100.0, 50.0, 99.0, 10.0, 19.8)
    ]
    (idle,) = text_loads(scrape(10.0, 100, 4, 8), scrape(12.0, 100, 4, 8))
    assert (idle.first_token_p50_ms, idle.next_token_p99_ms, idle.generation_tokens_per_second) == (None, None, 0.0)
