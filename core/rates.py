"""Rates, quantiles and means between two readings of a server's totals, for `torchserve top` and for the dashboard.

A total that is smaller than before was reset by a restart, so that all of it is new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def grown(now: float, before: float) -> float:
    """Return by how much a total has grown."""
    return now - before if now >= before else now


def grown_by(now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Return by how much each total has grown, without those that have not."""
    found = {name: grown(count, before.get(name, 0)) for name, count in now.items()}
    return {name: count for name, count in found.items() if count > 0}


def grown_counts(now: Sequence[float], before: Sequence[float]) -> list[float]:
    """Return by how much the count of each bucket of a histogram has grown."""
    known = [*before, *([0] * (len(now) - len(before)))]
    return [grown(count, old) for count, old in zip(now, known, strict=False)]


def quantile(share: float, bounds: Sequence[float], counts: Sequence[float]) -> float | None:
    """Return the value below which the share `share` (0 to 1) of a histogram's observations lies, None if it is empty.

    `counts` has the observations of each bucket, whose upper ends are `bounds`; one more, of those beyond all.
    Observations are taken to be spread evenly within a bucket, as Prometheus's histogram_quantile does.
    """
    total = sum(counts)
    if total <= 0:
        return None
    rank = share * total
    low = below = 0.0
    for place, count in enumerate(counts):
        if place >= len(bounds):
            break
        if count > 0 and below + count >= rank:
            return low + (bounds[place] - low) * (rank - below) / count
        low, below = bounds[place], below + count
    return low


def mean_size(batches: Mapping[str, float]) -> float | None:
    """Return the mean size of batches that were counted by their size, None if there are none."""
    count = sum(batches.values())
    return sum(int(size) * each for size, each in batches.items()) / count if count else None


def recent(
    now: Mapping[str, Any], before: Mapping[str, Any], seconds: float, bounds: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """Return what has happened to a model version in `seconds`, from its rows for the dashboard then and now."""

    def rate(name: str) -> float:
        return round(grown(now[name], before[name]) / seconds, 3)

    def at(share: float, name: str) -> float | None:
        if name not in now:
            return None
        return quantile(share, bounds[name], grown_counts(now[name], before.get(name, ())))

    sizes, refused, failed = (grown_by(now[name], before[name]) for name in ("sizes", "refused", "failed"))
    found: dict[str, Any] = {
        "seconds": round(seconds, 3),
        "arrivals": rate("requests"),
        "goodput": rate("succeeded"),
        "refused": refused,
        "failed": failed,
        "refusedRate": round(sum(refused.values()) / seconds, 3),
        "failedRate": round(sum(failed.values()) / seconds, 3),
        "batch": mean_size(sizes),
        "p50": at(0.5, "latency"),
        "p99": at(0.99, "latency"),
        "waited99": at(0.99, "waited"),
    }
    if "text" in now:
        text, old = now["text"], before.get("text", now["text"])
        found["text"] = {
            "tokens": round(grown(text["tokens"], old["tokens"]) / seconds, 3),
            "prompt": round(grown(text["promptTokens"], old["promptTokens"]) / seconds, 3),
            "first50": at(0.5, "firstToken"),
            "first99": at(0.99, "firstToken"),
            "next99": at(0.99, "nextToken"),
        }
    return found


def recent_of_workflow(
    now: Mapping[str, Any], before: Mapping[str, Any], seconds: float, bounds: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """Return the same of a workflow; `failed` is by the names of its nodes."""
    failed, old = ({node["name"]: node["failed"] for node in row["nodes"]} for row in (now, before))
    counts = grown_counts(now["latency"], before["latency"])
    return {
        "seconds": round(seconds, 3),
        "arrivals": round(grown(now["requests"], before["requests"]) / seconds, 3),
        "goodput": round(grown(now["succeeded"], before["succeeded"]) / seconds, 3),
        "failed": grown_by(failed, old),
        "p50": quantile(0.5, bounds["latency"], counts),
        "p99": quantile(0.99, bounds["latency"], counts),
    }
