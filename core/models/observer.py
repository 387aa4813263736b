"""ModelObserver: turns the reports of a model version's workers into metrics and log lines."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ...scheduler.job import Batch
from ..logs.install import log_worker_line
from ..metrics.model_metrics import ModelMetrics
from ..wire.messages import Answer, EngineReport

log = logging.getLogger(__name__)


class ModelObserver:
    """The WorkerObserver of one model version."""

    def __init__(self, metrics: ModelMetrics) -> None:
        self._metrics = metrics
        self._overdue = 0

    def printed(self, worker: str, stream: str, line: str, requests: str, traces: str) -> None:
        log_worker_line(worker, stream, line, requests, traces)

    def loaded(self, worker: str, milliseconds: float) -> None:
        log.info("%s has loaded its model in %.0f ms", worker, milliseconds)
        self._metrics.worker_loaded(worker, milliseconds)

    def batch_finishing(self, batch: Batch, answer: Answer) -> None:
        if answer.samples:
            self._metrics.samples(answer.samples, [job.id for job in batch.jobs])

    def batch_finished(self, worker: str, batch: Batch, milliseconds: float, answer: Answer) -> None:
        self._overdue = 0
        jobs = batch.jobs
        formed_in = batch.formed - jobs[0].arrived if jobs else 0.0
        self._metrics.batch_finished(
            len(jobs), formed_in, milliseconds / 1e3, answer.handler_ms / 1e3, batch.reason, batch.runner.device
        )

    def restarting(self, worker: str, cause: str) -> None:
        self._metrics.worker_restarted(cause)

    def engine_metrics(self, worker: str, text: str) -> None:
        self._metrics.engine_metrics(worker, text)

    def generated(self, report: EngineReport, first_tokens: Sequence[float]) -> None:
        self._metrics.generated(report, first_tokens)

    def batch_overdue(self, worker: str) -> None:
        self._overdue += 1
        log.error("%s: Number or consecutive unsuccessful inference %d", worker, self._overdue)
