"""No server: `bare_loop.py SECONDS FILE…` prints, as JSON, the seconds per body in full batches and alone."""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time
from pathlib import Path

from serving import BATCH, Handler


def seconds(handler: Handler, batches: list[list[bytes]], least: float) -> float:
    """Return the median seconds for all batches, over at least `least` seconds, after one round that warms up."""
    for batch in batches:
        handler.answers(batch)
    taken, end = [], time.perf_counter() + least
    while not taken or time.perf_counter() < end:
        began = time.perf_counter()
        for batch in batches:
            handler.answers(batch)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def keep_heap() -> None:
    """Have freed memory stay with this process, as in a worker of this server; an older server's doesn't do so."""
    try:
        module = importlib.import_module("torchserve.core.backend.kept_heap")
    except ModuleNotFoundError:
        return
    module.keep_heap()


if __name__ == "__main__":
    keep_heap()
    handler, least = Handler(), float(sys.argv[1])
    bodies = [Path(name).read_bytes() for name in sys.argv[2:]]
    full = seconds(handler, [bodies[start : start + BATCH] for start in range(0, len(bodies), BATCH)], least)
    print(json.dumps({"full": full / len(bodies), "lone": seconds(handler, [bodies[:1]], least)}))
