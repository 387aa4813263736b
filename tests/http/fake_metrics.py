"""FakeMetrics: the metrics of a front without models, which notes who asks for them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field


@dataclass
class FakeMetrics:
    statuses: list[int] = field(default_factory=list[int])
    asked: list[set[str]] = field(default_factory=list[set[str]])
    settled: int = 0

    def request(self, status: int) -> None:
        self.statuses.append(status)

    def settle(self) -> None:
        self.settled += 1

    def render(self, names: Collection[str] = ()) -> bytes:
        assert self.settled > len(self.asked), "what requests have noted is counted first"
        self.asked.append(set(names))
        return b"# HELP x y\n"
