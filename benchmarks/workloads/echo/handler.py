"""A handler that returns each body as it came: what is measured is the server, not a model."""  # noqa: INP001

from __future__ import annotations


class Echo:
    """Runs in any TorchServe: no base class, no torch."""

    def initialize(self, context: object) -> None:
        self.context = context

    def handle(self, data: list[dict[str, object]], _context: object) -> list[object]:
        return [row.get("body", row.get("data")) for row in data]
