"""A handler that returns each body unchanged, so that the server is measured and not a model."""  # noqa: INP001

from __future__ import annotations


class Echo:
    """A handler that runs in any TorchServe: it has no base class and needs no torch."""

    def initialize(self, context: object) -> None:
        self.context = context

    def handle(self, data: list[dict[str, object]], _context: object) -> list[object]:
        return [row.get("body", row.get("data")) for row in data]
