"""The server's own statistics of a run, computed from two scrapes: batch sizes, times in the queue and in the handler.
No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass

from .scrape import Scrape, quantile

_PERCENTILES = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class ServerStats:
    """A record of one model's statistics between two scrapes.

    `batch` is the mean batch size. `handler` and `queue` map percentiles (50, 90, 99) to milliseconds and are empty if
    nothing was served. A batch's handler time counts once, as TorchServe's does.
    """

    batch: float | None
    handler: dict[int, float]
    queue: dict[int, float]


def server_stats(before: Scrape, after: Scrape, model: str) -> ServerStats:
    """Return the statistics of all versions of `model` together."""
    batches = _grown(before, after, "torchserve_batch_size_count", model)
    requests = _grown(before, after, "torchserve_batch_size_sum", model)
    return ServerStats(
        requests / batches if batches > 0 else None,
        _quantiles(before, after, "torchserve_handler_duration_seconds_bucket", model),
        _quantiles(before, after, "torchserve_queue_duration_seconds_bucket", model),
    )


def _grown(before: Scrape, after: Scrape, name: str, model: str, **labels: str) -> float:
    return after.total(name, model_name=model, **labels) - before.total(name, model_name=model, **labels)


def _quantiles(before: Scrape, after: Scrape, name: str, model: str) -> dict[int, float]:
    ends = {labels["le"] for labels, _ in after.of(name, model_name=model)}
    buckets = {float(end): _grown(before, after, name, model, le=end) for end in ends}
    found = {percentile: quantile(percentile / 100, buckets) for percentile in _PERCENTILES}
    return {percentile: seconds * 1e3 for percentile, seconds in found.items() if seconds is not None}
