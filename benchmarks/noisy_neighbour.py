"""Simulate what a noisy client costs a quiet one, in virtual time: `python -m benchmarks.noisy_neighbour`.

The noisy client asks for three times what the workers can do. For each cell (service curve, rule and delay, workers,
arrivals, weights) the table has the quiet client's p99 alone; beside the noisy one first come, first served; with fair
shares; and at best, where it always goes before the other. No scheduler can do better than the last that neither breaks
off a batch nor makes batches smaller: a request waits for the batch that runs, and for its own, which is a full one.

It exits 1 if a quiet client with fair shares, which asks for a quarter of its share at most, has a p99 over 1.5 times
the best; if a request of it is refused; or if batches or answers are fewer than first come, first served.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import click
from torchserve.cli.loadgen.arrivals import bursty, poisson
from torchserve.scheduler.policy import SharePolicy

from .simulation.cell import CURVES, Curve
from .simulation.neighbour import QUIET, Cell, Seen, play

GOAL = 1.5
NOISE = 3.0  # times the workers' capacity
AS_MUCH = 0.97  # of first come, first served: batches and answers may differ by chance
ONE_BY_ONE = Curve("one by one, 10 ms", lambda size: 0.010 * size, 1, 0.2)
SETUPS = (("adaptive", 0.1, 1), ("adaptive", 0.1, 2), ("eager", 0.01, 1), ("fixed", 0.02, 1))  # rule, delay, workers
# The weight of the quiet client beside the other's 1, and what it asks for: up to a quarter of its share.
WEIGHTS = ((1.0, 0.05), (4.0, 0.1), (4.0, 0.2))
_BEST = SharePolicy({QUIET: 1000.0})


class Row(NamedTuple):
    """The results of one cell: alone, first come, with fair shares, and at best."""

    name: str
    alone: Seen
    queued: Seen
    shared: Seen
    best: Seen

    def __str__(self) -> str:
        ms = [f"{seen.p99 * 1e3:.0f}" for seen in (self.alone, self.queued, self.shared, self.best)]
        ratios = f"{self.shared.p99 / self.best.p99:.2f} | {self.shared.p99 / self.alone.p99:.2f}"
        sizes = f"{self.queued.batch:.1f} | {self.shared.batch:.1f}"
        return f"| {self.name} | {' | '.join(ms)} | {ratios} | {self.queued.p99 / self.alone.p99:.0f} | {sizes} |"

    def shortfalls(self) -> Iterator[str]:
        """Yield what is not as this program's head says."""
        if self.shared.p99 > GOAL * self.best.p99:
            yield f"{self.name}: p99 is {self.shared.p99 / self.best.p99:.2f} times the best"
        if self.shared.refused[QUIET]:
            yield f"{self.name}: {self.shared.refused[QUIET]} requests of the quiet client were refused"
        if self.shared.batch < AS_MUCH * self.queued.batch or self.shared.rate < AS_MUCH * self.queued.rate:
            yield f"{self.name}: batches of {self.shared.batch:.1f} at {self.shared.rate:.0f}/s"


HEAD = (
    "| cell | alone, p99 ms | first come | shares | best | shares/best | shares/alone | first come/alone |"
    " batch, first come | shares |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def row(cell: Cell, arrivals: str, weight: float, load: float, seconds: float) -> Row:
    """Simulate one cell in each way, with the same arrivals."""
    capacity = _capacity(cell)

    def played(shares: SharePolicy | None, *, noisy: bool = True) -> Seen:
        kind = {"Poisson": poisson, "bursty": bursty}[arrivals]
        noise = poisson(NOISE * capacity, 2) if noisy else None
        return play(replace(cell, shares=shares), kind(load * capacity, 1), noise, seconds)

    name = f"{cell.curve.name}; {cell.rule}, {cell.delay * 1e3:.0f} ms; {cell.workers} w; {arrivals}"
    shares = SharePolicy({QUIET: weight})
    return Row(
        f"{name}; weight {weight:g}, load {load:.0%}",
        played(None, noisy=False),
        played(None),
        played(shares),
        played(_BEST),
    )


def _capacity(cell: Cell) -> float:
    """Return the jobs a second that the workers do under load: of the best size, or of the largest by other rules."""
    largest = cell.batch_size / cell.curve.seconds(cell.batch_size)
    return cell.workers * (cell.curve.capacity if cell.rule == "adaptive" else largest)


def cells() -> Iterator[tuple[Cell, str, float, float]]:
    """Yield all cells: where batches, rules, workers, arrivals, weights and loads differ."""
    for curve, (rule, delay, workers) in product((ONE_BY_ONE, *CURVES), SETUPS):
        for arrivals, (weight, load) in product(("Poisson", "bursty"), WEIGHTS):
            yield Cell(curve, curve.largest, workers, rule, delay), arrivals, weight, load


@click.command(help=__doc__)
@click.option("--requests", default=1000, show_default=True, help="Requests of the quiet client in each cell, about.")
def main(requests: int) -> None:
    click.echo(HEAD)
    missed: list[str] = []
    alone = total = 0
    for cell, arrivals, weight, load in cells():
        seconds = requests / (load * _capacity(cell))
        found = row(cell, arrivals, weight, load, seconds)
        click.echo(str(found))
        missed += found.shortfalls()
        alone += found.shared.p99 <= GOAL * found.alone.p99
        total += 1
    click.echo(f"\n{alone} of {total} cells are within {GOAL:g} times the p99 alone.")
    for line in missed:
        click.echo(f"short: {line}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
