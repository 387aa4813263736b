"""The table of benchmarks.grpc, and its goals: which ratios are wanted, and whether they were reached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .report import Spread

Key = tuple[int, int, str, str]  # calls in flight, channels, server, protocol
# What a rival's way of asking is compared with: ours with the same messages.
_TWINS = {"torchserve": ("Predictions", "StreamPredictions", "REST, chunked"), "triton": ("ModelInfer",)}
_FASTER = {"torchserve": 3.0, "triton": 2.0}  # times the rival's calls a second
_CPU = 90.0  # microseconds of the server's processors for a call, 64 in flight
_IMAGE = 1.5  # times Triton's calls a second


@dataclass(frozen=True, slots=True)
class Sample:
    """A run: calls a second, times in milliseconds, and the microseconds of processor time for a call, the server's and
    the load generator's.
    """

    rate: float
    p50: float
    p99: float
    cpu: float
    first: float | None = None
    generator: float = 0.0


@dataclass(slots=True)
class Results:
    """The samples of each row of a part, in the order of the rounds, by calls in flight, channels, server, protocol."""

    samples: dict[Key, list[Sample]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal, what was found, and whether it is met: None if it was not measured."""

    text: str
    figures: str
    met: bool | None

    def __str__(self) -> str:
        """Return the row of the table."""
        said = {True: "yes", False: "**no**", None: "not measured"}[self.met]
        return f"| {self.text} | {self.figures} | {said} |"


def table(found: Results, *, stream: bool) -> str:
    """Return the rows as Markdown: medians with their ranges, and how many times a rival's calls ours are."""
    heads = ["in flight", "channels", "server", "by", "calls/s", "p50 ms", "p99 ms", "CPU us", "generator us"]
    heads += ["ours/it", *(["first piece ms"] if stream else [])]
    lines = ["| " + " | ".join(heads) + " |", "|---:|---:|---|---|" + "---:|" * (len(heads) - 4)]
    for key, samples in found.samples.items():
        flight, channels, server, by = key
        cells = [_spread(each.rate for each in samples), *(_spread(getattr(each, name) for each in samples)
                 for name in ("p50", "p99", "cpu", "generator"))]  # fmt: skip
        ours = None if server == "ours" else _ratios(found, (flight, channels, "ours", by), key, "rate")
        cells.append("" if ours is None else ours.told(2))
        if stream:
            cells.append(_spread(each.first or 0.0 for each in samples))
        lines.append(f"| {flight} | {channels} | {server} | {by} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values: Iterable[float]) -> str:
    return Spread.of(values).told()


def _ratios(found: Results, ours: Key, other: Key, name: str) -> Spread | None:
    """Return how many times the other's reading ours is, round by round."""
    pairs = zip(found.samples.get(ours, ()), found.samples.get(other, ()), strict=False)
    ratios = [getattr(mine, name) / its for mine, it in pairs if (its := getattr(it, name))]
    return Spread.of(ratios) if ratios else None


def goals(parts: Mapping[str, Results]) -> list[Goal]:
    """Return the goals of these parts."""
    made: list[Goal] = []
    if "echo" in parts:
        for rival, times in _FASTER.items():
            made += [_faster(parts["echo"], rival, times), _sooner(parts["echo"], rival)]
        made.append(_cheap(parts["echo"]))
    if "image" in parts:
        made += [_image(parts["image"], by) for by in ("gRPC raw", "REST binary", "shared memory")]
    if "stream" in parts:
        made.append(_first_piece(parts["stream"]))
    faults = [fault for part in parts.values() for fault in part.faults]
    made.append(Goal("every call is answered, and rightly", f"{len(faults)} runs with faults", not faults))
    return made


def _against(found: Results, rival: str, name: str) -> dict[Key, Spread]:
    """Return the ratios of ours to the rival's in each cell, by the rival's row."""
    rows = [key for key in found.samples if key[2] == rival and key[3] in _TWINS[rival]]
    ratios = {key: _ratios(found, (*key[:2], "ours", key[3]), key, name) for key in rows}
    return {key: each for key, each in ratios.items() if each is not None}


def _cells(ratios: Mapping[Key, Spread]) -> str:
    return ", ".join(f"{flight} on {channels}: {each.told(2)}" for (flight, channels, *_), each in ratios.items())


def _faster(found: Results, rival: str, times: float) -> Goal:
    ratios = _against(found, rival, "rate")
    met = all(each.median >= times for each in ratios.values()) if ratios else None
    return Goal(f"≥ {times:g} times {rival}'s calls/s", _cells(ratios), met)


def _sooner(found: Results, rival: str) -> Goal:
    ratios = _against(found, rival, "p99")
    met = all(each.median < 1 for each in ratios.values()) if ratios else None
    return Goal(f"a lower p99 than {rival}'s (ours/it)", _cells(ratios), met)


def _cheap(found: Results) -> Goal:
    rows = {key: Spread.of(each.cpu for each in samples) for key, samples in found.samples.items()
            if key[0] == 64 and key[2] == "ours"}  # fmt: skip
    told = ", ".join(f"{by} on {channels}: {each.told(0)}" for (_, channels, _, by), each in rows.items())
    met = all(each.median <= _CPU for each in rows.values()) if rows else None
    return Goal(f"≤ {_CPU:g} us of the server's processors for a call, 64 in flight", told, met)


def _image(found: Results, by: str) -> Goal:
    ours, its = ((16, 1, server, by) for server in ("ours", "triton"))
    ratio = _ratios(found, ours, its, "rate")
    text = f"≥ {_IMAGE:g} times triton's images/s, {by}"
    return Goal(text, "" if ratio is None else ratio.told(2), None if ratio is None else ratio.median >= _IMAGE)


def _first_piece(found: Results) -> Goal:
    """Return the goal that the first piece comes sooner than TorchServe's, by gRPC; by REST is told beside it."""
    ratios = _against(found, "torchserve", "first")
    mine: dict[tuple[int, int], Spread | None] = {}
    for flight, channels, server, _ in found.samples:
        if server == "ours":
            rpc, rest = ((flight, channels, server, by) for by in ("StreamPredictions", "REST, chunked"))
            mine[flight, channels] = _ratios(found, rpc, rest, "first")
    told = [f"{flight}, {by}: {each.told(2)}" for (flight, _, _, by), each in ratios.items()]
    told += [f"{flight}, ours by gRPC / by REST: {each.told(2)}" for (flight, _), each in mine.items() if each]
    met = all(each.median < 1 for each in ratios.values()) if ratios else None
    return Goal("a stream's first piece sooner than torchserve's (ours/it)", ", ".join(told), met)
