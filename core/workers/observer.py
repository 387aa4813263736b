"""WorkerObserver: what workers tell whoever keeps the metrics and logs."""

from __future__ import annotations

from typing import Protocol

from ...scheduler.job import Batch
from ..wire.messages import Answer


class WorkerObserver(Protocol):
    """All calls are made on the event loop and must be quick. The answers of a batch go out between `batch_finishing` and
    `batch_finished`.
    """

    def printed(self, worker: str, stream: str, line: str, requests: str) -> None: ...
    def loaded(self, worker: str, milliseconds: float) -> None: ...
    def batch_finishing(self) -> None: ...
    def batch_finished(self, worker: str, batch: Batch, milliseconds: float, answer: Answer) -> None: ...
    def restarting(self, worker: str, cause: str) -> None: ...
    def batch_overdue(self, worker: str) -> None: ...
