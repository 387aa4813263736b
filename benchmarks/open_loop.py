"""The open loop: the same arrivals are offered to each server at each rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from torchserve.cli.loadgen.checks import Expected, echo
from torchserve.cli.loadgen.generator import drive
from torchserve.cli.loadgen.outcome import Outcome
from torchserve.cli.loadgen.payload import Payload
from torchserve.cli.loadgen.scenario import Open, Scenario
from torchserve.core.config.address import parse_address

from .check import WrongAnswerError, post
from .plotting import save_figure
from .process import ServerProcess
from .protocol_adapter import UnwrappedCheck, as_it_is
from .workload import Workload

_BODIES, _BYTES = 64, 16 << 20  # different bodies at most, and their bytes together at most


@dataclass(frozen=True, slots=True)
class OpenLoad:
    """A load of `rate` requests per second. All times are in seconds; `deadline` is sent to the server with each
    request.
    """

    rate: float
    seconds: float
    slo: float
    arrivals: str = "poisson"
    warmup: float = 10.0
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """The result of one server at one rate. Latencies are milliseconds, None if too few requests were answered.

    `fault` says why this is no valid measurement, or is None.
    """

    workload: str
    server: str
    offered: float
    answered: float
    goodput: float
    refused: float
    p50: float | None
    p90: float | None
    p99: float | None
    p999: float | None
    refusal_p50: float | None
    late_p99: float
    cpu_us: float
    memory_mib: float
    settled: bool
    fault: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def offer(server: ServerProcess, workload: Workload, load: OpenLoad) -> Point:
    """Offer the load to the server and return the result.

    Raises GeneratorError if the server accepts no connection, and WrongAnswerError if it does not answer a lone
    request.
    """
    before, outcome = server.usage(), drive(scenario_for(server, workload, load))
    after = server.usage()
    # The processor time includes the warm-up, which had the same rate.
    share = outcome.seconds / (outcome.seconds + outcome.warmup)
    spent = (after.cpu_seconds - before.cpu_seconds) * share / max(outcome.tally.right, 1)
    return point(server.name, workload.name, outcome, spent * 1e6, (after.front + after.workers) / 2**20)


def scenario_for(server: ServerProcess, workload: Workload, load: OpenLoad) -> Scenario:
    """Return the load generator's scenario, with several different bodies in the server's own format."""
    bodies = list(dict.fromkeys(workload.bodies(max(min(_BODIES, _BYTES // len(workload.body)), 2))))
    adapter, kind = server.adapter, server.adapter.kind(workload.content_type)
    # The echo of a wrapped body may be formatted otherwise, so it is compared with a lone answer.
    echoes = workload.expected is bytes and adapter.wrap is as_it_is
    check = echo if echoes else Expected([_lone(server, workload, body) for body in bodies])
    parts = urlsplit(server.predictions)
    wish = {} if load.deadline is None else {"x-request-timeout-ms": f"{load.deadline * 1e3:.0f}"}
    return Scenario(
        parse_address(f"http://{parts.netloc}"), parts.path,
        tuple(Payload(f"body {place}", adapter.wrap(body), kind) for place, body in enumerate(bodies)),
        Open(load.rate, load.arrivals), seconds=load.seconds, slo=load.slo,
        check=UnwrappedCheck(check, adapter.unwrap), headers={**adapter.headers, **wish}, most_warmup=load.warmup,
    )  # fmt: skip


def _lone(server: ServerProcess, workload: Workload, body: bytes) -> bytes:
    adapter = server.adapter
    kind = adapter.kind(workload.content_type)
    status, answer = post(server.predictions, adapter.wrap(body), kind, adapter.headers)
    if status != 200:
        raise WrongAnswerError(f"{server.predictions}: {status} {answer[:200]!r} instead of a 200")
    return adapter.unwrap(answer)


def point(server: str, workload: str, outcome: Outcome, cpu_us: float, memory_mib: float) -> Point:
    """Return the figures of an outcome that go into the report."""
    latency, refusal = outcome.tally.latency, outcome.tally.refusal
    return Point(
        workload, server, outcome.offered, outcome.rate, outcome.goodput or 0.0, outcome.refused / outcome.seconds,
        _ms(latency.quantile(0.5)), _ms(latency.tail(0.9)), _ms(latency.tail(0.99)), _ms(latency.tail(0.999)),
        _ms(refusal.quantile(0.5)), _ms(outcome.late) or 0.0, cpu_us, memory_mib, outcome.settled,
        "; ".join(outcome.faults()) or None,
    )  # fmt: skip


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


_HEAD = (
    "| workload | server | offered/s | in SLO/s | answered/s | refused/s | p50 ms | p90 | p99 | p99.9 | refusal p50 ms "
    "| CPU us | MiB | late p99 ms |"
)


def table(points: list[Point], slo: float) -> list[str]:
    """Return a Markdown table by workload, rate and server, in which invalid measurements are marked."""
    lines = ["", f"Open loop, Poisson, latency from when a request was due, SLO {slo * 1e3:g} ms:", "", _HEAD]
    lines += ["|---|---|" + "---:|" * 12]
    for each in points:
        cells = [each.offered, each.goodput, each.answered, each.refused]
        times = [each.p50, each.p90, each.p99, each.p999, each.refusal_p50]
        mark = " **invalid**" if each.fault else ""
        lines.append(
            f"| {each.workload} | {each.server}{mark} | " + " | ".join(f"{cell:.0f}" for cell in cells) + " | "
            + " | ".join("-" if ms is None else f"{ms:.2f}" for ms in times)
            + f" | {each.cpu_us:.0f} | {each.memory_mib:.0f} | {each.late_p99:.2f} |"
        )  # fmt: skip
    faults = [f"- {each.server} at {each.offered:.0f}/s: {each.fault}" for each in points if each.fault]
    return lines + (["", *faults] if faults else [])


def draw(points: list[Point], slo: float, folder: Path) -> list[Path]:
    """Draw offered-WORKLOAD.png: goodput and latencies over the rate, a curve per server. Needs the extra `bench`."""
    from matplotlib import pyplot

    drawn = []
    for workload in dict.fromkeys(each.workload for each in points):
        servers: Mapping[str, list[Point]] = {
            name: sorted((p for p in points if p.server == name and p.workload == workload), key=lambda p: p.offered)
            for name in dict.fromkeys(each.server for each in points)
        }
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.5))
        for name, curve in servers.items():
            offered = [each.offered for each in curve]
            (line,) = left.plot(offered, [each.goodput for each in curve], marker=".", label=name)
            for percentile, style in (("p50", "-"), ("p99", "--")):
                times = [getattr(each, percentile) for each in curve]
                right.plot(offered, times, style, marker=".", color=line.get_color(), label=f"{name} {percentile}")
        left.set_ylabel(f"answered within {slo * 1e3:g} ms, a second")
        right.set_ylabel("latency from when it was due, ms")
        right.set_yscale("log")
        for axis in (left, right):
            axis.set_xlabel("requests offered a second")
        drawn.append(save_figure(figure, (left, right), workload, folder / f"offered-{workload}.png"))
    return drawn
