"""Charts of the closed loop: requests per second and latencies over the number of connections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .plotting import save_figure
from .report import Cell


def draw(cells: Sequence[Cell], folder: Path) -> list[Path]:
    """Draw closed-WORKLOAD.png with a curve for each server, whose bars are the range of the rounds. Needs the extra
    `bench`.
    """
    from matplotlib import pyplot

    drawn = []
    for workload in dict.fromkeys(cell.workload for cell in cells):
        of_it = [cell for cell in cells if cell.workload == workload]
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.5))
        for name in dict.fromkeys(server for cell in of_it for server in cell.samples):
            shown = [(cell.connections, cell.figures(name)) for cell in of_it if cell.samples.get(name)]
            places, rates = [connections for connections, _ in shown], [figures["rate"] for _, figures in shown]
            below = [rate.median - rate.low for rate in rates], [rate.high - rate.median for rate in rates]
            line = left.errorbar(places, [rate.median for rate in rates], below, marker=".", capsize=3, label=name)
            for percentile, style in (("p50", "-"), ("p99", "--")):
                times = [figures[percentile].median for _, figures in shown]
                color = line.lines[0].get_color()
                right.plot(places, times, style, marker=".", color=color, label=f"{name} {percentile}")
        left.set_ylabel("requests a second")
        left.set_ylim(bottom=0)
        right.set_ylabel("latency, ms")
        right.set_yscale("log")
        for axis in (left, right):
            axis.set_xscale("log", base=2)
            axis.set_xlabel("connections")
        drawn.append(save_figure(figure, (left, right), workload, folder / f"closed-{workload}.png"))
    return drawn
