"""Compare this server's language models with the engine below them: `python -m benchmarks.language_models`.

The same weights are served by `torchserve llm` and driven in transformers' continuous batching directly, in turns, with
the same prompts. The engine is the floor: what the server costs is the difference. The front's processor time for a
token is measured with a model that costs next to nothing. `transformers serve` and TorchServe's streamer serve the
same weights, too, for comparison.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click

from .generation_model import save_smollm2, save_tiny, weights
from .generation_rivals import compare_rivals, tell_rivals
from .generation_runs import Run, served
from .generation_servers import LlmServer
from .process import NotServingError

RATIO, TTFT_MS, FRONT_US = 0.95, 5.0, 25.0  # the goals
PARTS = ("front", "engine", "rivals")
_IDLE = 3.0  # seconds
_PROMPT = 24  # tokens


class Baseline:
    """The process of `benchmarks.generation_baseline`."""

    def __init__(self, folder: Path, threads: int) -> None:
        command = [sys.executable, "-m", "benchmarks.generation_baseline", str(folder), "--threads", str(threads)]
        root = Path(__file__).parents[1]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=root, text=True
        )

    def __enter__(self) -> Self:
        return self

    def ready(self) -> None:
        """Wait until the model is loaded."""
        self._line()

    def run(self, prompts: Sequence[Sequence[int]], tokens: int) -> Run:
        """Generate so many tokens after each prompt, all at once."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"prompts": prompts, "tokens": tokens}) + "\n")
        self._process.stdin.flush()
        return Run(**self._line())

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise NotServingError("transformers' continuous batching has ended")
        found: dict[str, Any] = json.loads(line)
        return found

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()


@dataclass(slots=True)
class Compared:
    """The runs of both ways with so many streams, in turns."""

    streams: int
    ours: list[Run] = field(default_factory=list)
    direct: list[Run] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Return our tokens per second by the engine's: the median of the pairs."""
        return statistics.median(a.rate / b.rate for a, b in zip(self.ours, self.direct, strict=True))

    @property
    def ttft_ms(self) -> float:
        """Return how much later the first token comes through the server, in milliseconds."""
        return statistics.median(
            (statistics.median(a.ttft) - statistics.median(b.ttft)) * 1e3
            for a, b in zip(self.ours, self.direct, strict=True)
        )


def _served(url: str, model: str, prompts: Sequence[Sequence[int]], tokens: int) -> Run:
    return asyncio.run(served(url, model, prompts, [tokens] * len(prompts)))


def compare(
    folder: Path, venv: Path, streams: Sequence[int], tokens: int, rounds: int, deadline: float
) -> list[Compared]:
    """Return both ways' runs for each number of streams: `rounds`, or as many as begin before `deadline`."""
    with LlmServer(folder, venv) as server, Baseline(folder, len(os.sched_getaffinity(0))) as baseline:
        server.ready()
        baseline.ready()
        found = [Compared(count) for count in streams]
        _served(server.url, folder.name, prompts_of(2, -1), 4)  # both are warm by then
        baseline.run(prompts_of(2, -1), 4)
        for turn in range(rounds):
            began = time.monotonic()
            for each in found:
                prompts = prompts_of(each.streams, turn)
                ways = [
                    lambda asked=prompts, to=each.ours: to.append(_served(server.url, folder.name, asked, tokens)),
                    lambda asked=prompts, to=each.direct: to.append(baseline.run(asked, tokens)),
                ]
                for way in ways[:: -1 if turn % 2 else 1]:
                    way()
            took = time.monotonic() - began
            print(f"round {turn + 1} of at most {rounds}: {took:.0f} s", file=sys.stderr, flush=True)
            if time.monotonic() + took > deadline:
                break
        return found


def prompts_of(count: int, turn: int) -> list[list[int]]:
    """Return prompts that no other turn has, so that none is in a cache."""
    return [[1 + (turn + 2) * 7 % 97, 2 + index, *range(20, 18 + _PROMPT)] for index in range(count)]


def front_cost(venv: Path, streams: Sequence[int], tokens: int) -> list[tuple[int, float, float]]:
    """Return, for each number of streams, the front's microseconds for a token beyond what it takes when it is idle,
    and tokens per second.
    """
    with tempfile.TemporaryDirectory(prefix="llm-") as home:
        folder = Path(home) / "tiny"
        save_tiny(folder)
        with LlmServer(folder, venv) as server:
            server.ready()
            found = []
            for count in streams:
                _served(server.url, "tiny", prompts_of(count, -1), 20)
                server.rest()
                idle = -server.front_seconds()
                time.sleep(_IDLE)
                before = server.front_seconds()
                idle = (idle + before) / _IDLE  # metrics and the like, which no token causes
                run = _served(server.url, "tiny", prompts_of(count, count), tokens)
                found.append(
                    (count, (server.front_seconds() - before - idle * run.seconds) / run.tokens * 1e6, run.rate)
                )
            return found


@click.command()
@click.option("--streams", default=(1, 4, 16), multiple=True, help="Streams at once.")
@click.option("--tokens", default=32, help="Tokens of each stream.")
@click.option("--rounds", default=5, help="Runs of each way at most, in turns; medians are shown.")
@click.option("--minutes", default=5.0, help="No further round begins that would end later.")
@click.option("--parts", type=click.Choice(PARTS), multiple=True, default=PARTS[:2], help="What is measured.")
@click.option("--front-tokens", default=600, help="Tokens of each stream where the front is measured.")
@click.option("--torchserve-venv", type=click.Path(path_type=Path), help="Environment of TorchServe 0.12.")
def main(
    streams: tuple[int, ...], tokens: int, rounds: int, minutes: float, parts: tuple[str, ...], **others: Any
) -> None:
    """Print what the server costs beside its engine, and which goals are met."""
    venv, began = Path(sys.executable).parents[1], time.monotonic()
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"{len(os.sched_getaffinity(0))} cores, load average {load}\n", flush=True)
    verdicts: list[str] = []
    if "front" in parts:
        verdicts += tell_front(front_cost(venv, streams, others["front_tokens"]))
    with ExitStack() as stack:
        folder = _weights(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llm-"))), parts)
        if "engine" in parts:
            found = compare(folder, venv, streams, tokens, rounds, time.monotonic() + minutes * 60)
            verdicts += tell_compared(folder.name, found)
        if "rivals" in parts:
            until = time.monotonic() + minutes * 60
            table = compare_rivals(folder, (venv, others["torchserve_venv"]), streams, rounds, until)
            verdicts += tell_rivals(folder.name, table)
    print("\n".join(verdicts))
    print(f"took {time.monotonic() - began:.0f} s")


def _weights(home: Path, parts: Sequence[str]) -> Path:
    """Return a folder with the weights that are served, if a part serves them."""
    file = weights()
    folder = home / ("smollm2" if file else "tiny")
    if {"engine", "rivals"} & set(parts):
        save_smollm2(file, folder) if file else save_tiny(folder)
    return folder


def tell_compared(model: str, found: Sequence[Compared]) -> list[str]:
    """Print a table, and return the verdicts."""
    print(f"| {model}, streams | ours, tokens/s | engine alone | ratio | first token later by, ms | rounds |")
    print("|---:|---:|---:|---:|---:|---:|")
    for each in found:
        ours, direct = (statistics.median(run.rate for run in way) for way in (each.ours, each.direct))
        figures = f"{ours:.1f} | {direct:.1f} | {each.ratio:.2f} | {each.ttft_ms:.1f} | {len(each.ours)}"
        print(f"| {each.streams} | {figures} |")
    print()
    return [
        verdict("tokens/s by the engine's", min(each.ratio for each in found), RATIO, at_least=True),
        verdict("first token later by, ms", max(each.ttft_ms for each in found), TTFT_MS),
    ]


def tell_front(fronts: Sequence[tuple[int, float, float]]) -> list[str]:
    """Print a table, and return the verdict, which is that of the most streams."""
    print("| a tiny model, streams | front, us a token | tokens/s |\n|---:|---:|---:|")
    for count, cost, rate in fronts:
        print(f"| {count} | {cost:.1f} | {rate:.0f} |")
    print(flush=True)
    return [verdict(f"front's microseconds a token, {fronts[-1][0]} streams", fronts[-1][1], FRONT_US)]


def verdict(what: str, found: float, goal: float, *, at_least: bool = False) -> str:
    """Return a line that says whether a goal is met."""
    met = found >= goal if at_least else found <= goal
    return f"{'met    ' if met else 'not met'}  {what}: {found:.2f}, goal {'>=' if at_least else '<='} {goal:g}"


if __name__ == "__main__":
    main()
