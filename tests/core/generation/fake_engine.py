"""An engine that generates when the test says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torchserve.core.generation.engine import EngineCapacity, EngineStats, EngineStopped, Progress, Sampling


class FakeEngine:
    """An engine of which a test takes each step. `steps` counts them, and `asked` keeps every request."""

    context_length = 100
    capacity = EngineCapacity(100, 1000, 10, 50)

    def __init__(self) -> None:
        self.steps = 0
        self.stopped = False
        self.asked: dict[str, tuple[list[int], Sampling]] = {}
        self.receivers: dict[str, Callable[[Progress], None]] = {}
        self.tokens: dict[str, list[int]] = {}
        self.prefix = (0, 0)

    def submit(
        self, request_id: str, prompt: Sequence[int], sampling: Sampling, receive: Callable[[Progress], None]
    ) -> None:
        if self.stopped:
            raise EngineStopped("stopped")
        self.asked[request_id] = (list(prompt), sampling)
        self.receivers[request_id] = receive
        self.tokens[request_id] = []

    def step(self, *names: str, tokens: int = 1, finished: str | None = None, error: str = "") -> None:
        """Generate so many tokens for each request, or for those named."""
        self.steps += 1
        for name in names or list(self.receivers):
            receive, found = self.receivers[name], self.tokens[name]
            found += [120] * tokens
            if finished or error:
                del self.receivers[name]
            receive(Progress(list(found), finished, error))  # type: ignore[arg-type]

    def cancel(self, request_id: str) -> None:
        self.receivers.pop(request_id, None)

    def stats(self) -> EngineStats:
        began = [name for name in self.receivers if self.tokens[name]]
        used = sum(len(self.asked[name][0]) + len(self.tokens[name]) for name in began)
        return EngineStats(len(began), len(self.receivers) - len(began), used / 1000, *self.prefix)

    def stop(self) -> None:
        self.stopped = True
        receivers, self.receivers = self.receivers, {}
        for receive in receivers.values():
            receive(Progress((), error="the engine was stopped"))
