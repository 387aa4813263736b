"""`python -m benchmarks.simulate` compares the scheduler with other servers' rules in virtual time, and measures its
own cost.

It prints the tables of docs/scheduler.md and, with matplotlib (extra `bench`), draws their chart. It takes about five
minutes.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import click
from torchserve.cli.loadgen.arrivals import bursty, poisson, recorded

from .simulation.cell import CONTENDERS, CURVES, CellResult, Curve, play
from .simulation.overhead import decision_cost, placement_cost

LOADS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.3, 1.5)
BEST_WITHIN = 0.02  # share of the best goodput that `adaptive` may be behind, in each cell
Table = dict[tuple[str, float], CellResult]


def arrivals_of(name: str, trace: Path | None, rate: float, seed: int) -> Iterator[float]:
    if name == "recorded":
        assert trace is not None
        return recorded(trace, rate)
    return (poisson if name == "Poisson" else bursty)(rate, seed)


def play_all(curve: Curve, process: str, trace: Path | None, seconds: float, loads: Sequence[float]) -> Table:
    table: Table = {}
    for load in loads:
        for contender in CONTENDERS:
            arrivals = arrivals_of(process, trace, load * curve.capacity, seed=int(load * 1000))
            table[contender, load] = play(contender, curve, arrivals, seconds)
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return table


def markdown(curve: Curve, process: str, table: Table, loads: Sequence[float]) -> str:
    """Return a table of goodput as a share of capacity, median and 99th percentile of latency, and mean batch size."""
    lines = [
        f"### {curve.name}; {process}",
        "",
        f"SLO {curve.slo * 1e3:.0f} ms, batches up to {curve.largest}, capacity {curve.capacity:.0f}/s.",
        "",
        "| load | " + " | ".join(CONTENDERS) + " |",
        "|---:|" + "---|" * len(CONTENDERS),
    ]
    for load in loads:
        cells = [
            f"**{load * seen.in_time:.3f}** {seen.p50:.0f}/{seen.p99:.0f} ms, {seen.batch:.1f}"
            for seen in (table[contender, load] for contender in CONTENDERS)
        ]
        lines.append(f"| {load:.0%} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def shortfalls(curve: Curve, process: str, table: Table, loads: Sequence[float]) -> list[str]:
    """Return where `adaptive` is not what docs/scheduler.md says about it."""
    found: list[str] = []
    for load in loads:
        ours = table["adaptive", load]
        best = max(CONTENDERS, key=lambda contender: table[contender, load].in_time)
        if ours.in_time < (1.0 - BEST_WITHIN) * table[best, load].in_time:
            found.append(f"{load:.0%}: goodput {ours.in_time:.1%}, {best} has {table[best, load].in_time:.1%}")
        eager = table["eager", load]
        if load <= 0.3 and ours.p50 > 1.05 * eager.p50:
            found.append(f"{load:.0%}: median {ours.p50:.1f} ms, eager has {eager.p50:.1f} ms")
    peak = max(load * table["adaptive", load].in_time for load in loads)
    if loads[-1] * table["adaptive", loads[-1]].in_time < 0.9 * peak:
        found.append(f"{loads[-1]:.0%}: goodput under 90 % of its peak")
    return [f"{curve.name}, {process}, {each}" for each in found]


def draw(results: Sequence[tuple[Curve, str, Table]], loads: Sequence[float], path: Path) -> None:
    """Draw goodput over load, with a panel for each curve and arrival process."""
    from matplotlib import pyplot

    rows = len({process for _, process, _ in results})
    figure, axes = pyplot.subplots(rows, len(results) // rows, figsize=(15, 4.2 * rows), squeeze=False, sharey="row")
    for axis, (curve, process, table) in zip(axes.flat, results, strict=True):
        for contender in CONTENDERS:
            goodput = [100 * load * table[contender, load].in_time for load in loads]
            width = 2.6 if contender == "adaptive" else 1.2
            axis.plot([100 * load for load in loads], goodput, label=contender, linewidth=width, marker=".")
        axis.set_title(f"{curve.name}; {process}", fontsize=10)
        axis.set_xlabel("offered load, % of capacity")
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("answered within the SLO, % of capacity")
    axes[0][0].legend(fontsize=9)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def overhead() -> str:
    """Return a table of the scheduler's own processor time, by this machine's real clock."""
    lines = ["| what | µs, median (min to max) of 5 |", "|---|---:|"]
    for name, once in [
        *((f"one request through a scheduler, batches of {size}", partial(decision_cost, size)) for size in (1, 8, 32)),
        *(
            (f"one placement: {gpus} GPUs, {models} models", partial(placement_cost, gpus, models))
            for gpus, models in ((8, 80), (100, 1000), (1000, 10_000))
        ),
    ]:
        times = [once() * 1e6 for _ in range(5)]
        lines.append(f"| {name} | {statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f}) |")
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--seconds", default=20.0, show_default=True, help="Virtual seconds of each cell, behind 3 s of warm-up.")
@click.option("--trace", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Arrivals, s, one a line.")
@click.option("--picture", type=click.Path(path_type=Path), help="Where to draw the goodput (.svg or .png).")
@click.option("--overhead/--no-overhead", "costs", default=True, help="Also time the scheduler itself.")
def main(seconds: float, trace: Path | None, picture: Path | None, costs: bool) -> None:
    processes = ["Poisson", "bursty"] + (["recorded"] if trace else [])
    results = [
        (curve, process, play_all(curve, process, trace, seconds, LOADS)) for process in processes for curve in CURVES
    ]
    for curve, process, table in results:
        print(markdown(curve, process, table, LOADS), end="\n\n")
    if costs:
        print(overhead(), end="\n\n")
    if picture is not None:
        draw(results, LOADS, picture)
    missed = [line for curve, process, table in results for line in shortfalls(curve, process, table, LOADS)]
    for line in missed:
        print("short:", line)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
