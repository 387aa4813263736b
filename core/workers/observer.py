"""WorkerObserver: what workers tell whoever keeps the metrics and logs."""

from __future__ import annotations

from typing import Protocol

from ...scheduler.job import Batch
from ..wire.messages import Answer


class WorkerObserver(Protocol):
    """All calls are made on the event loop and must be quick. The answers of a batch go out between `answering` and
    `answered`.
    """

    def printed(self, worker: str, stream: str, line: str, requests: str) -> None: ...
    def loaded(self, worker: str, milliseconds: float) -> None: ...
    def answering(self) -> None: ...
    def answered(self, worker: str, batch: Batch, milliseconds: float, answer: Answer) -> None: ...
    def restarting(self, worker: str, cause: str) -> None: ...
    def unanswered(self, worker: str) -> None: ...
