"""Measure what the placement of a worker costs: `python -m benchmarks.placement`.

A host has 1,000 GPUs. What counts is the processor time of choosing those of one more worker, by what is free on each
and by the leases of the workers that are there. It exits 1 if that takes over a millisecond with a worker on each GPU.
"""

from __future__ import annotations

import random
import statistics
import sys
import time

import click
from torchserve.scheduler.gpu import Gpu, Lease
from torchserve.scheduler.placement import Claim, place_all

_GOAL = 1.0  # ms
_GIB = 1 << 30
_REPEATS = 100


def _host(count: int, drawn: random.Random, *, alike: bool) -> list[Gpu]:
    """Return GPUs of 80 GiB, of which between 20 and 80 are free, or with `alike` as much on each."""
    return [
        Gpu(
            index, f"GPU-{index:032x}", "any", 80 * _GIB, int((70 if alike else drawn.uniform(20, 80)) * _GIB), count,
            drawn.uniform(0, 100), f"GPU-{index:032x}", 0,
        )
        for index in range(count)
    ]  # fmt: skip


def _leases(workers: int, gpus: int) -> list[Lease]:
    return [
        Lease(f"GPU-{at % gpus:032x}", f"W-{at}", f"m{at % 50}", 4 * _GIB, 4 * _GIB, loading=False)
        for at in range(workers)
    ]


def _cost(gpus: list[Gpu], leases: list[Lease], count: int, ids: list[int] | None) -> float:
    """Return the median milliseconds of processor time of a placement."""
    claim = Claim("m1", 10 * _GIB, 8 * _GIB, ids)
    took: list[float] = []
    for _ in range(_REPEATS):
        began = time.process_time()
        place_all(gpus, leases, claim, _GIB, count)
        took.append(time.process_time() - began)
    return statistics.median(took) * 1e3


@click.command(help=__doc__)
@click.option("--gpus", default=1000, show_default=True, help="GPUs of the host.")
def main(gpus: int) -> None:
    drawn = random.Random(1)
    click.echo("| GPUs | workers there | GPUs of the worker | ms |\n|---|---:|---:|---:|")
    slowest = 0.0
    half = list(range(0, gpus, 2))
    for alike in (False, True):
        host = _host(gpus, drawn, alike=alike)
        for each, count, ids in ((1, 1, None), (1, 8, None), (1, 1, half), (8, 1, None)):
            took = _cost(host, _leases(each * gpus, gpus), count, ids)
            kind = "alike" if alike else "all different"
            click.echo(
                f"| {gpus}, {kind}{', half of them allowed' if ids else ''} | {each * gpus} | {count} | {took:.2f} |"
            )
            if each == 1 and count == 1:
                slowest = max(slowest, took)
    click.echo(f"one GPU of {gpus}, with a worker on each: {slowest:.2f} ms at most, goal {_GOAL:g}")
    sys.exit(0 if slowest <= _GOAL else 1)


if __name__ == "__main__":
    main()
