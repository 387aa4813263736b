"""The floor: a workload's handler in a bare loop, without a server. No server can be faster than that."""

from __future__ import annotations

import importlib.util
import statistics
import time
from dataclasses import dataclass
from typing import Any

from .workload import Workload

_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Floor:
    """Requests a second in full batches, and microseconds for a lone one."""

    rate: float
    lone_us: float

    def __str__(self) -> str:
        return f"{self.rate:.0f} requests/s in full batches, {self.lone_us:.1f} us for a lone one"


def floor(workload: Workload) -> Floor | None:
    """None where the handler needs more than its file."""
    if workload.handler is None:
        return None
    spec = importlib.util.spec_from_file_location("bare_handler", workload.handler)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (kind,) = (value for value in vars(module).values() if isinstance(value, type))
    handler = kind()
    handler.initialize(None)
    batch = [{"body": body} for body in workload.bodies(workload.batch)]
    return Floor(workload.batch / _time(handler, batch), _time(handler, batch[:1]) * 1e6)


def _time(handler: Any, batch: list[dict[str, bytes]]) -> float:
    """Seconds of one call, the median."""
    handle, taken, end = handler.handle, [], time.perf_counter() + _SECONDS
    while (began := time.perf_counter()) < end:
        handle(batch, None)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
