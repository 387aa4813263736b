"""What the management API says of a model, as rows for people. Pure but for `show_versions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from .tables import show_table

WORKER_COLUMNS = ("worker", "pid", "state", "memory", "gpu", "since", "last error")
_APART = ("modelName", "modelVersion", "workers", "jobQueueStatus", "minWorkers", "maxWorkers", "customizedMetadata")
_STEPS = ("B", "KiB", "MiB", "GiB", "TiB")


def version_row(entry: Mapping[str, Any]) -> tuple[object, ...]:
    """name, version, workers, batch size, waiting requests, archive of one version."""
    return (
        entry["modelName"],
        entry["modelVersion"],
        workers_of(entry),
        entry["batchSize"],
        entry["jobQueueStatus"]["pendingRequests"],
        entry["modelUrl"],
    )


def workers_of(entry: Mapping[str, Any]) -> str:
    """`2/3`: how many serve, of how many that are wanted; `2/3-5` where they may be more."""
    ready = sum(worker["status"] == "READY" for worker in entry["workers"])
    least, most = entry["minWorkers"], entry["maxWorkers"]
    return f"{ready}/{least}" if most <= least else f"{ready}/{least}-{most}"


def worker_row(worker: Mapping[str, Any]) -> tuple[object, ...]:
    """The cells of WORKER_COLUMNS."""
    gpu = worker.get("gpuUsage", "").replace("gpuId::", "").replace("N/A", "") if worker.get("gpu") else ""
    return (
        worker["id"],
        worker.get("pid") if worker.get("pid", -1) > 0 else "",
        state_of(worker),
        in_bytes(worker.get("memoryUsage", 0)),
        gpu,
        worker.get("startTime", "")[:19].replace("T", " "),
        worker.get("lastError", ""),
    )


def state_of(worker: Mapping[str, Any]) -> str:
    """TorchServe's API has two words, and UNLOADING is all that does not serve; an error says that it will not soon."""
    if worker["status"] == "READY":
        return "ready"
    return "failing" if worker.get("lastError") else "not ready"


def in_bytes(count: float) -> str:
    """`1.5 GiB`; "" for nothing."""
    if count <= 0:
        return ""
    step = min((int(count).bit_length() - 1) // 10, len(_STEPS) - 1)
    return f"{count / (1 << 10 * step):.{1 if step else 0}f} {_STEPS[step]}"


def facts(entry: Mapping[str, Any]) -> list[tuple[str, object]]:
    """What there is to know of a version besides its workers."""
    queue = entry["jobQueueStatus"]
    rows: list[tuple[str, object]] = [("workers", workers_of(entry))]
    rows += [("waiting requests", queue["pendingRequests"]), ("room in the queue", queue["remainingCapacity"])]
    rows += [(key, _shown(value)) for key, value in entry.items() if key not in _APART]
    notes = dict.fromkeys(note for worker in entry["workers"] for note in worker.get("notes", {}).items())
    rows += notes  # each once: workers of one model mostly choose alike
    customized = entry.get("customizedMetadata") or {}
    return rows + [(f"customized: {key}", _shown(value)) for key, value in customized.items()]


def show_versions(entries: Sequence[Mapping[str, Any]]) -> None:
    """Print each version's facts and workers."""
    for place, entry in enumerate(entries):
        if place:
            click.echo()
        show_table(("option", "value"), facts(entry), f"{entry['modelName']} {entry['modelVersion']}")
        if entry["workers"]:
            click.echo()
            show_table(WORKER_COLUMNS, map(worker_row, entry["workers"]))


def _shown(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
