"""WorkerObserver: what workers report to the keeper of metrics and logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ...scheduler.job import Batch
from ..wire.messages import Answer, EngineReport


class WorkerObserver(Protocol):
    """An observer of a model version's workers.

    Every call is made on the event loop and must return quickly. The replies of a batch are delivered between
    `batch_finishing`, where the handler's samples are logged, so that a client finds them, and `batch_finished`;
    `batch_overdue` reports a batch that has exceeded responseTimeout. `engine_metrics` hands over the Prometheus text
    of a worker's own engine, "" if there is none any more. `generated` is what an engine reports, and in how many
    seconds from their arrival requests have had their first tokens since its last report.
    """

    def printed(self, worker: str, stream: str, line: str, requests: str, traces: str) -> None: ...
    def loaded(self, worker: str, milliseconds: float) -> None: ...
    def batch_finishing(self, batch: Batch, answer: Answer) -> None: ...
    def batch_finished(self, worker: str, batch: Batch, milliseconds: float, answer: Answer) -> None: ...
    def restarting(self, worker: str, cause: str) -> None: ...
    def generated(self, report: EngineReport, first_tokens: Sequence[float]) -> None: ...
    def batch_overdue(self, worker: str) -> None: ...
    def engine_metrics(self, worker: str, text: str) -> None: ...
