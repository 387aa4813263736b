"""Measures a spike: the load rises from half of a server's capacity to twice of it for ten seconds, and falls again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import nan
from pathlib import Path
from typing import Any

from torchserve.cli.loadgen.generator import drive
from torchserve.cli.loadgen.outcome import Outcome
from torchserve.cli.loadgen.scenario import Open

from .open_loop import OpenLoad, scenario_for
from .plotting import save_figure
from .process import ServerProcess
from .workload import Workload

BEFORE, PEAK = 0.5, 2.0  # multiples of the capacity
CALM, LASTS, AFTER = 5, 10, 30  # seconds before the spike, of the spike, and after it


@dataclass(frozen=True, slots=True)
class Spike:
    """The result of a spike. Rates are requests per second.

    `seconds` holds, for each second, how many requests were due and how many of them were answered in time. `goodput`
    covers the spike alone, `refused` the whole run. `recovery` is the whole seconds after the spike's end until 99 %
    are in time again, or None. `fault` says why this is no valid measurement.
    """

    workload: str
    server: str
    before: float
    peak: float
    goodput: float
    refused: int
    refusal_ms: float | None
    recovery: int | None
    seconds: tuple[tuple[int, int], ...]
    fault: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def spike(server: ServerProcess, workload: Workload, capacity: float, slo: float, warmup: float) -> Spike:
    """Offer a spike to the server and return the result. Raises what `open_loop.offer` raises."""
    calm = scenario_for(server, workload, OpenLoad(BEFORE * capacity, CALM + LASTS + AFTER, slo, warmup=warmup))
    load = Open(BEFORE * capacity, "spike", spike=(CALM, CALM + LASTS), factor=PEAK / BEFORE)
    return of_outcome(server.name, workload.name, load, drive(replace(calm, load=load)))


def of_outcome(server: str, workload: str, load: Open, outcome: Outcome) -> Spike:
    """Return the figures of an outcome that go into the report."""
    counted = [outcome.tally.by_second.get(second, (0, 0)) for second in range(int(outcome.seconds))]
    begin, end = map(int, load.spike)
    refusal = outcome.tally.refusal.quantile(0.5)
    return Spike(
        workload, server, load.rate, load.rate * load.factor, sum(good for _, good in counted[begin:end]) / LASTS,
        outcome.refused, None if refusal is None else refusal * 1e3, outcome.recovery,
        tuple((due, good) for due, good in counted), "; ".join(outcome.faults()) or None,
    )  # fmt: skip


def table(spikes: Sequence[Spike], slo: float) -> list[str]:
    """Return a Markdown table, in which invalid measurements are marked."""
    what = f"A spike of {LASTS} s, Poisson, from {BEFORE:g} to {PEAK:g} times what each did in the closed loop"
    head = "| workload | server | before/s | spike/s | in SLO/s in it | refused | refusal p50 ms | recovered after, s |"
    lines = ["", f"{what}, SLO {slo * 1e3:g} ms:", "", head, "|---|---|" + "---:|" * 6]
    for each in spikes:
        mark = " **invalid**" if each.fault else ""
        refusal = "-" if each.refusal_ms is None else f"{each.refusal_ms:.2f}"
        recovery = f"not in {AFTER}" if each.recovery is None else f"{each.recovery}"
        lines.append(
            f"| {each.workload} | {each.server}{mark} | {each.before:.0f} | {each.peak:.0f} | {each.goodput:.0f} "
            f"| {each.refused} | {refusal} | {recovery} |"
        )
    faults = [f"- {each.workload}, {each.server}: {each.fault}" for each in spikes if each.fault]
    return lines + (["", *faults] if faults else [])


def draw(spikes: Sequence[Spike], slo: float, folder: Path) -> list[Path]:
    """Draw spike-WORKLOAD.png: the share of each second's requests that were in time. Needs the extra `bench`."""
    from matplotlib import pyplot

    drawn = []
    for workload in dict.fromkeys(each.workload for each in spikes):
        figure, axis = pyplot.subplots(figsize=(9, 4))
        for each in (spike for spike in spikes if spike.workload == workload):
            shares = [100 * good / due if due else nan for due, good in each.seconds]
            axis.plot(range(len(shares)), shares, marker=".", label=f"{each.server}, {each.peak:.0f}/s")
        axis.axvspan(CALM, CALM + LASTS - 1, alpha=0.15)
        axis.set_xlabel("due in second")
        axis.set_ylabel(f"% answered within {slo * 1e3:g} ms")
        title = f"{workload}: {LASTS} s at {PEAK:g} times capacity"
        drawn.append(save_figure(figure, [axis], title, folder / f"spike-{workload}.png"))
    return drawn
