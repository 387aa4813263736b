"""The load of a server's models and GPUs, computed from two scrapes of its metrics. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..core.rates import grown
from .scrape import Scrape, quantile

_MB = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """A record of one model version's load.

    Rates, quantiles and the mean batch size cover the time between the two scrapes, and are None if nothing was
    answered in it. `errors` counts the requests refused or failed since the version was registered.
    """

    model: str
    version: str
    workers_ready: int
    workers_wanted: int
    queue_depth: int
    in_flight: int
    requests_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    batch_size: float | None
    errors: int
    errors_per_second: float


@dataclass(frozen=True, slots=True)
class TextLoad:
    """A record of what one version of a language model generates.

    Sequences run and wait now. Rates and quantiles cover the time between the two scrapes, and the latter are None if
    no token came in it.
    """

    model: str
    version: str
    running: int
    waiting: int
    kv_cache_percent: float
    prompt_tokens_per_second: float
    generation_tokens_per_second: float
    first_token_p50_ms: float | None
    first_token_p99_ms: float | None
    next_token_p50_ms: float | None
    next_token_p99_ms: float | None


@dataclass(frozen=True, slots=True)
class GpuLoad:
    """A record of one GPU's load as the server last measured it (every metric_time_interval seconds).

    Values are None where the driver does not report them. Percentages are from 0 to 100.
    """

    gpu: str
    memory_used_bytes: int | None
    memory_percent: float | None
    utilization_percent: float | None


def model_loads(before: Scrape, now: Scrape) -> list[ModelLoad]:
    """Return the load of each model version, sorted by name and version."""
    known = {(labels["model_name"], labels["model_version"]) for labels, _ in now.of("torchserve_workers")}
    return [_Between(before, now, name, version).load() for name, version in sorted(known)]


def text_loads(before: Scrape, now: Scrape) -> list[TextLoad]:
    """Return what each version of a language model generates, sorted by name and version."""
    gauge = "vllm:num_requests_running"
    known = {
        (labels["model_name"], labels["model_version"]) for labels, _ in now.of(gauge) if "model_version" in labels
    }
    return [_Between(before, now, name, version).text() for name, version in sorted(known)]


def gpu_loads(now: Scrape) -> list[GpuLoad]:
    """Return the load of each GPU, sorted by number."""
    names = ("GPUMemoryUsed", "GPUMemoryUtilization", "GPUUtilization")
    known = {labels.get("DeviceId", "") for name in names for labels, _ in now.of(name)}
    found = []
    for gpu in sorted(known, key=lambda text: (len(text), text)):
        used, share, busy = (next((value for _, value in now.of(name, DeviceId=gpu)), None) for name in names)
        found.append(GpuLoad(gpu, None if used is None else round(used * _MB), share, busy))
    return found


class _Between:
    """A reader of one model version's metrics between two scrapes."""

    def __init__(self, before: Scrape, now: Scrape, name: str, version: str) -> None:
        self._before, self._now = before, now
        self._name, self._version = name, version
        self._seconds = now.at - before.at
        self._own = {"model_name": name, "model_version": version}

    def load(self) -> ModelLoad:
        states = {labels["state"]: value for labels, value in self._now.of("torchserve_workers", **self._own)}
        durations = self._buckets("torchserve_request_duration_seconds_bucket")
        batches = self._grown("torchserve_batch_size_count")
        failing = ("torchserve_requests_refused_total", "torchserve_requests_failed_total")
        return ModelLoad(
            model=self._name,
            version=self._version,
            workers_ready=int(states.get("ready", 0)),
            workers_wanted=int(sum(states.values()) - states.get("stopping", 0)),
            queue_depth=int(self._now.total("torchserve_queue_depth", **self._own)),
            in_flight=int(self._now.total("torchserve_requests_in_flight", **self._own)),
            requests_per_second=self._rate("torchserve_requests_total"),
            p50_ms=_milliseconds(quantile(0.5, durations)),
            p99_ms=_milliseconds(quantile(0.99, durations)),
            batch_size=self._grown("torchserve_batch_size_sum") / batches if batches else None,
            errors=int(sum(self._now.total(name, **self._own) for name in failing)),
            errors_per_second=sum(map(self._rate, failing)),
        )

    def text(self) -> TextLoad:
        first = self._buckets("vllm:time_to_first_token_seconds_bucket")
        following = self._buckets("vllm:inter_token_latency_seconds_bucket")
        return TextLoad(
            model=self._name,
            version=self._version,
            running=int(self._now.total("vllm:num_requests_running", **self._own)),
            waiting=int(self._now.total("vllm:num_requests_waiting", **self._own)),
            kv_cache_percent=100.0 * self._now.total("vllm:kv_cache_usage_perc", **self._own),
            prompt_tokens_per_second=self._rate("vllm:prompt_tokens_total"),
            generation_tokens_per_second=self._rate("vllm:generation_tokens_total"),
            first_token_p50_ms=_milliseconds(quantile(0.5, first)),
            first_token_p99_ms=_milliseconds(quantile(0.99, first)),
            next_token_p50_ms=_milliseconds(quantile(0.5, following)),
            next_token_p99_ms=_milliseconds(quantile(0.99, following)),
        )

    def _rate(self, name: str) -> float:
        return self._grown(name) / self._seconds if self._seconds > 0 else 0.0

    def _grown(self, name: str, **labels: str) -> float:
        now = self._now.total(name, **self._own, **labels)
        before = self._before.total(name, **self._own, **labels)
        return grown(now, before)

    def _buckets(self, name: str) -> dict[float, float]:
        return {float(end): self._grown(name, le=end) for end in self._ends(name)}

    def _ends(self, name: str) -> Iterator[str]:
        return (labels["le"] for labels, _ in self._now.of(name, **self._own))


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3
