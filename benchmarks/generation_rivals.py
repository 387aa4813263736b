"""This server's language models beside `transformers serve` and TorchServe's streamer: the same weights, in turns."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from torchserve.cli.tokenload.prompts import Prompt, prompts

from . import oracle
from .generation_runs import Run, served
from .generation_servers import LlmServer, StreamerServer, TransformersServe, transformers_environment
from .process import NotServingError, ServerProcess

OURS, SERVE, STREAMER = "ours", "transformers serve", "TorchServe's streamer"
Ask = Callable[[Sequence[str], Sequence[int]], Run]
Table = Mapping[int, Mapping[str, Sequence[Run]]]
"""The runs by the number of streams and by server; those of one place in the lists were neighbours in time."""

_SHORTER = 8  # times shorter than in the recorded conversations, so that a round takes a minute on two cores


def compare_rivals(
    folder: Path, venvs: tuple[Path, Path | None], streams: Sequence[int], rounds: int, deadline: float
) -> Table:
    """Return the runs of the servers that there are: `rounds`, or as many as begin before `deadline`.

    `venvs` are the environments of ours and, if it is given, of TorchServe. A server that doesn't start is left out.
    """
    with ExitStack() as stack:
        asks = _started(stack, folder, venvs)
        found: dict[int, dict[str, list[Run]]] = {count: {name: [] for name in asks} for count in streams}
        for ask, _ in asks.values():
            _ask(ask, conversations(2, 0))  # all are warm by then
        for turn in range(rounds):
            began = time.monotonic()
            for count in streams:
                for name in _order(list(asks), turn):
                    ask, server = asks[name]
                    found[count][name].append(_ask(ask, conversations(count, turn + 1)))
                    server.rest()
            took = time.monotonic() - began
            print(f"rivals, round {turn + 1} of at most {rounds}: {took:.0f} s", file=sys.stderr, flush=True)
            if time.monotonic() + took > deadline:
                break
        return found


def _started(stack: ExitStack, folder: Path, venvs: tuple[Path, Path | None]) -> dict[str, tuple[Ask, ServerProcess]]:
    """Start the servers, and say of each that can't be started why."""
    asks: dict[str, tuple[Ask, ServerProcess]] = {}
    ours = stack.enter_context(LlmServer(folder, venvs[0]))
    ours.ready()
    asks[OURS] = (lambda prompts, tokens: asyncio.run(served(ours.url, folder.name, prompts, tokens))), ours
    try:
        serve = stack.enter_context(TransformersServe(folder, transformers_environment()))
        serve.ready()
        asks[SERVE] = (lambda prompts, tokens: asyncio.run(served(serve.url, serve.model, prompts, tokens))), serve
    except (oracle.NoOracleError, NotServingError, OSError) as error:
        print(f"{SERVE} is left out: {error}", file=sys.stderr, flush=True)
    try:
        streamer = stack.enter_context(StreamerServer(folder, oracle.find(venvs[1])))
        streamer.ready()
        asks[STREAMER] = streamer.run, streamer
    except (oracle.NoOracleError, NotServingError, OSError) as error:
        print(f"{STREAMER} is left out: {error}", file=sys.stderr, flush=True)
    return asks


def _order(names: Sequence[str], turn: int) -> list[str]:
    """Return the servers in the order of a turn: each is the first one as often as the others."""
    at = turn % len(names)
    return [*names[at:], *names[:at]]


def conversations(count: int, turn: int) -> list[Prompt]:
    """Return prompts, and how many tokens are asked for behind each, of lengths as in ShareGPT's conversations, but
    shorter. Those of another turn or number begin differently, so that none is in a cache.
    """
    recorded = itertools.islice(prompts(0, most=2048), 500)
    pairs = [(each.tokens // _SHORTER + 4, each.answer // _SHORTER + 1) for each in recorded]
    return list(itertools.islice(prompts(100 * turn + count, most=2048, pairs=pairs), count))


def _ask(ask: Ask, asked: Sequence[Prompt]) -> Run:
    return ask([each.text for each in asked], [each.answer for each in asked])


def tell_rivals(model: str, table: Table) -> list[str]:
    """Print a table, and return the verdicts: whether ours is ahead of each other, with each number of streams."""
    names = list(next(iter(table.values())))
    print(
        f"| {model}, streams | " + " | ".join(f"{name}, tokens/s | first token, ms" for name in names) + " | rounds |"
    )
    print("|---:|" + "---:|---:|" * len(names) + "---:|")
    for count, runs in table.items():
        cells = [f"{_rate(runs[name]):.1f} | {_first_ms(runs[name]):.0f}" for name in names]
        print(f"| {count} | " + " | ".join(cells) + f" | {len(runs[OURS])} |")
    print(flush=True)
    return [_ahead(name, table) for name in names if name != OURS]


def _rate(runs: Sequence[Run]) -> float:
    return statistics.median(run.rate for run in runs)


def _first_ms(runs: Sequence[Run]) -> float:
    return statistics.median(statistics.median(run.ttft) for run in runs) * 1e3


def ratios(ours: Sequence[Run], theirs: Sequence[Run]) -> tuple[float, float]:
    """Return our tokens per second by theirs, and their time to the first token by ours: the medians of the pairs."""
    pairs = list(zip(ours, theirs, strict=True))
    rate = statistics.median(a.rate / b.rate for a, b in pairs)
    return rate, statistics.median(statistics.median(b.ttft) / statistics.median(a.ttft) for a, b in pairs)


def _ahead(name: str, table: Table) -> str:
    """Return a line that says whether ours is ahead of another server with each number of streams."""
    found = {count: ratios(runs[OURS], runs[name]) for count, runs in table.items()}
    met = all(rate > 1 and first > 1 for rate, first in found.values())
    told = ", ".join(f"{rate:.2f} and {first:.2f} at {count}" for count, (rate, first) in found.items())
    return f"{'met    ' if met else 'not met'}  times {name}'s tokens/s, times sooner the first token: {told}; goal > 1"
