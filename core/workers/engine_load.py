"""EngineLoad: the bounds of a worker's engine, and what it said of its load last."""

from __future__ import annotations

from ..wire.messages import Capacity, EngineReport


class EngineLoad:
    """The load of a language model's engine in a worker."""

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self.running = 0
        self.waiting = 0
        self.memory = 0.0  # the part of the KV memory in use, 0 to 1
        self.prompt_tokens = 0
        self.generation_tokens = 0

    def receive(self, report: EngineReport) -> None:
        """Note what the engine has reported."""
        self.running, self.waiting, self.memory = report.running, report.waiting, report.memory
        self.prompt_tokens += report.prompt_tokens
        self.generation_tokens += report.generation_tokens
