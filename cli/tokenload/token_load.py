"""Load on an OpenAI API: so many clients that ask again once they are answered, or requests on a schedule."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..loadgen.scenario import Open
from .prompts import Prompt
from .token_stream import Answer, OpenAiServer
from .token_tally import Slo, TokenTally

MOST_AT_ONCE = 4096  # requests of an open loop that may be under way; beyond, they are failures


@dataclass(frozen=True, slots=True)
class TokenScenario:
    """A description of a run: `clients` in a closed loop, or `load` in an open one, for `seconds` or `requests`.

    `body` makes a request's body of a prompt, and `path` is where it is sent, below /v1. `warm_up` requests come first,
    one after the other, and don't count. Times are in seconds.
    """

    path: str
    body: Callable[[Prompt], dict[str, Any]]
    clients: int = 1
    load: Open | None = None
    seconds: float = 10.0
    requests: int | None = None
    warm_up: int = 1
    timeout: float = 600.0
    seed: int = 1
    slo: Slo = Slo()


async def run(server: OpenAiServer, scenario: TokenScenario, prompts: Iterator[Prompt]) -> TokenTally:
    """Run the scenario and return what came of it; requests under way at its end are waited for, and count."""
    runner = _Runner(server, scenario, prompts)
    for _ in range(scenario.warm_up):
        answer = await runner.ask(time.perf_counter())
        if answer.error:
            runner.tally.failures[answer.error] += 1
            return runner.tally
    runner.tally.began = time.perf_counter()
    await (runner.closed() if scenario.load is None else runner.open(scenario.load))
    runner.tally.ended = time.perf_counter()
    return runner.tally


class _Runner:
    """A run under way."""

    def __init__(self, server: OpenAiServer, scenario: TokenScenario, prompts: Iterator[Prompt]) -> None:
        self._server = server
        self._scenario = scenario
        self._prompts = prompts
        self._sent = 0
        self.tally = TokenTally(scenario.slo)

    async def ask(self, due: float) -> Answer:
        scenario = self._scenario
        body = scenario.body(next(self._prompts))
        return await self._server.stream(scenario.path, body, due, scenario.timeout)

    async def closed(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self._scenario.clients)))

    async def _client(self) -> None:
        while self._may_send(time.perf_counter()):
            answer = await self.ask(time.perf_counter())
            self.tally.add(answer)
            if answer.error:
                await asyncio.sleep(0.05)  # a server that refuses at once is not to be asked without pause

    async def open(self, load: Open) -> None:
        tasks: set[asyncio.Task[None]] = set()
        begin = self.tally.began
        for at in load.times(self._scenario.seed):
            due = begin + at
            if not self._may_send(due):
                break
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if len(tasks) >= MOST_AT_ONCE:
                self.tally.failures[f"more than {MOST_AT_ONCE} requests under way"] += 1
                continue
            task = asyncio.ensure_future(self._one(due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    async def _one(self, due: float) -> None:
        self.tally.add(await self.ask(due))

    def _may_send(self, at: float) -> bool:
        most = self._scenario.requests
        if at - self.tally.began >= self._scenario.seconds if most is None else self._sent >= most:
            return False
        self._sent += 1
        return True
