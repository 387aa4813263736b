"""What the management API says about a model, as rows of tables. Only `show_versions` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from .tables import show_table

WORKER_COLUMNS = ("worker", "pid", "state", "memory", "gpu", "since", "last error")
_APART = ("modelName", "modelVersion", "workers", "jobQueueStatus", "minWorkers", "maxWorkers", "customizedMetadata")
_STEPS = ("B", "KiB", "MiB", "GiB", "TiB")


def version_row(entry: Mapping[str, Any]) -> tuple[object, ...]:
    """Return a version's cells in a list of models: name, version, workers, batch size, waiting requests, archive."""
    return (
        entry["modelName"],
        entry["modelVersion"],
        workers_of(entry),
        entry["batchSize"],
        entry["jobQueueStatus"]["pendingRequests"],
        entry["modelUrl"],
    )


def workers_of(entry: Mapping[str, Any]) -> str:
    """Return the number of ready workers and the number wanted, as `2/3`, or `2/3-5` if the maximum is larger than the
    minimum.
    """
    ready = sum(worker["status"] == "READY" for worker in entry["workers"])
    least, most = entry["minWorkers"], entry["maxWorkers"]
    return f"{ready}/{least}" if most <= least else f"{ready}/{least}-{most}"


def worker_row(worker: Mapping[str, Any]) -> tuple[object, ...]:
    """Return a worker's cells, in the order of WORKER_COLUMNS."""
    gpu = worker.get("gpuUsage", "").replace("gpuId::", "").replace("N/A", "") if worker.get("gpu") else ""
    return (
        worker["id"],
        worker.get("pid") if worker.get("pid", -1) > 0 else "",
        state_of(worker),
        in_bytes(worker.get("memoryUsage", 0)),
        gpu,
        worker.get("startTime", "")[:19].replace("T", " "),
        worker.get("waiting") or worker.get("lastError", ""),
    )


def state_of(worker: Mapping[str, Any]) -> str:
    """Return "ready", "waiting" for a node, "failing" or "not ready".

    TorchServe's API knows READY and UNLOADING only. A worker that is UNLOADING and has an error keeps failing to start.
    """
    if worker["status"] == "READY":
        return "ready"
    if worker.get("waiting"):
        return "waiting"
    return "failing" if worker.get("lastError") else "not ready"


def in_bytes(count: float) -> str:
    """Return a number of bytes in a readable unit, such as `1.5 GiB`, or "" if it is not positive."""
    if count <= 0:
        return ""
    step = min((int(count).bit_length() - 1) // 10, len(_STEPS) - 1)
    return f"{count / (1 << 10 * step):.{1 if step else 0}f} {_STEPS[step]}"


def facts(entry: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return names and values of everything that the management API says about a version, except its workers."""
    queue = entry["jobQueueStatus"]
    rows: list[tuple[str, object]] = [("workers", workers_of(entry))]
    rows += [("waiting requests", queue["pendingRequests"]), ("room in the queue", queue["remainingCapacity"])]
    rows += [(key, _shown(value)) for key, value in entry.items() if key not in _APART]
    notes = dict.fromkeys(note for worker in entry["workers"] for note in worker.get("notes", {}).items())
    rows += notes  # each note once: most workers of a model have the same notes
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


def show_traffic(found: Mapping[str, Any]) -> None:
    """Print how the requests that name no version are shared."""
    weights = found["weights"] or {found["defaultVersion"]: 100}
    show_table(("version", "percent"), weights.items(), found["modelName"])
    rows = [("sticky header", found["sticky"])] if found.get("sticky") else []
    for part in ("shadow", "rollout"):
        rows += [(f"{part}: {key}", value) for key, value in found.get(part, {}).items()]
    if rows:
        click.echo()
        show_table(("option", "value"), rows)


def _shown(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
