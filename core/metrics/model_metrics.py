"""ModelMetrics: what is counted for one model version.

Every request and every batch changes a dozen series. So what they count is only noted, and `settle` changes the series
for many at once: when a metric is read, when MANY batches have been noted, and otherwise a moment after the first of
them. All of this happens on the event loop.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Protocol

from ..errors import (
    BadRequest,
    ClientLimited,
    ContextExceeded,
    Draining,
    GenerationExpired,
    HandlerFailed,
    NoTicket,
    NotInTime,
    NoWorker,
    QueueFull,
    RequestExpired,
    ServerFull,
    WorkerDied,
)
from ..wire.messages import EngineReport, Sample
from .family import Family, Shown
from .series import NOTHING, Histogram, Reading, Series
from .tally import Tally

REFUSED = {
    QueueFull: "queue_full",
    ServerFull: "server_full",
    NoWorker: "no_worker",
    NoTicket: "no_ticket",
    Draining: "draining",
    RequestExpired: "expired",
    NotInTime: "too_late",
    ClientLimited: "client_limit",
    BadRequest: "invalid",
    ContextExceeded: "invalid",
}
FAILED = {HandlerFailed: "handler", WorkerDied: "worker_died", GenerationExpired: "late"}
TS = ("ts_inference_requests_total", "ts_inference_latency_microseconds", "ts_queue_latency_microseconds")
END_REASONS = ("stop", "length", "abort", "error")
WORKER_STATES = ("loading", "ready", "waiting", "spare", "stopping", "given_up")
MANY = 64  # batches that are counted at once: the loop is held up for about as long as one request takes


Update = Callable[[float], None]
UpdateAll = Callable[[Sequence[float]], None]
Soon = Callable[[Callable[[], None]], object]  # has a function called in a moment, on the event loop


_Ended = tuple[int, float, float, float, float, tuple[Enum, str]]  # `batch_finished`'s arguments, and when in between


class Books(Protocol):
    """The part of the store that a ModelMetrics uses."""

    queue_time: Series
    thread_time: Series
    soon: Soon | None

    def server(self, name: str, *values: str) -> Series: ...
    def own(self, name: str) -> Family: ...
    def samples(self, emitted: Sequence[Sample], request_ids: Sequence[str], *, gather: bool = False) -> None: ...
    def log_gathered(self) -> None: ...
    def worker_loaded(self, worker: str, milliseconds: float) -> None: ...
    def engine_metrics(self, worker: str, text: str) -> None: ...


class ModelMetrics:
    """The counts of one model version. `named` says whether a request named the version, as TorchServe's metrics count
    such requests apart.
    """

    def __init__(self, books: Books, model: str, version: str, host: str) -> None:
        self.model = model
        self.version = version
        self.gathers = False  # whether the log may have a handler's values a little later, with those of others
        self._books = books
        self._tally = Tally()
        self._bound: set[tuple[Family, tuple[str, ...]]] = set()
        self._over = False
        self._host = host
        self._soon = books.soon
        self._due = False  # whether `settle` will be called in a moment
        self._asked = {False: 0, True: 0}
        self._answers: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        self._ended: list[_Ended] = []
        # Bound methods are kept for what is counted again and again.
        self._ts: dict[bool, tuple[Update, UpdateAll, UpdateAll]] = {}
        self._queue_time = books.queue_time.update_all
        self._thread_time = books.thread_time.update_all
        self._requests = self._series("torchserve_requests_total")
        self._total = self._requests.update
        self._duration = self._series("torchserve_request_duration_seconds").update_all
        self._queued = self._series("torchserve_queue_duration_seconds").update_all
        self._formation = self._series("torchserve_batch_formation_seconds").update_all
        self._worker = self._series("torchserve_worker_duration_seconds").update_all
        self._handler = self._series("torchserve_handler_duration_seconds").update_all
        self._size = self._series("torchserve_batch_size").update_all
        self._batches: dict[tuple[Enum, str], Update] = {}
        self._text: TextMetrics | None = None

    def watch(
        self,
        *,
        depth: Callable[[], float],
        in_flight: Callable[[], float],
        workers: Callable[[str], float],
        memory: Callable[[], float],
    ) -> None:
        """Set the functions that gauges are read from when shown; `workers` is called with each of WORKER_STATES."""
        self._attach("torchserve_queue_depth", depth)
        self._attach("torchserve_requests_in_flight", in_flight)
        self._attach("torchserve_workers_memory_bytes", memory)
        for state in WORKER_STATES:
            self._attach("torchserve_workers", partial(workers, state), state)

    def watch_cache(
        self, results: Mapping[str, int], *, entries: Callable[[], float], size: Callable[[], float]
    ) -> None:
        """Show the metrics of a model's cache of answers; `results` counts what became of requests."""
        for result in results:
            self._attach("torchserve_cache_requests_total", partial(results.__getitem__, result), result)
        self._attach("torchserve_cache_entries", entries)
        self._attach("torchserve_cache_bytes", size)

    def watch_shared_answers(self, results: Mapping[str, int]) -> None:
        """Show what became of look-ups among the answers that servers share."""
        for result in results:
            self._attach("torchserve_cache_redis_lookups_total", partial(results.__getitem__, result), result)

    def watch_engines(
        self, *, running: Callable[[], float], waiting: Callable[[], float], memory: Callable[[], float]
    ) -> None:
        """Show the metrics of a model that generates text: the functions are those that gauges are read from."""
        self._attach("vllm:num_requests_running", running)
        self._attach("vllm:num_requests_waiting", waiting)
        self._attach("vllm:kv_cache_usage_perc", memory)
        self._text = TextMetrics(self._series)

    # ---- requests

    def requested(self, *, named: bool) -> None:
        """Count a prediction that was asked for, whatever its outcome."""
        self._asked[named] += 1
        if not self._due:
            self._settle_soon()

    def succeeded(self, seconds: float, queued: float, *, named: bool) -> None:
        """Count a prediction that succeeded after `seconds`, `queued` of which it waited for a worker."""
        self._answers[named].append((seconds, queued))
        if not self._due:
            self._settle_soon()

    def exemplar(self, seconds: float, trace_id: str) -> None:
        """Name the trace of a prediction that succeeded after `seconds`."""
        series = self._series("torchserve_request_duration_seconds")
        if isinstance(series, Histogram):
            series.exemplify(seconds, trace_id, time.time())

    def load_waited(self, seconds: float) -> None:
        """Count a prediction that has waited so long for its onDemand model to load."""
        self._series("torchserve_load_wait_duration_seconds").update(seconds)

    def failed(self, error: BaseException) -> None:
        """Count a prediction that was refused or failed with `error`."""
        self._tally.failed += 1
        reason = REFUSED.get(type(error))
        if reason is not None:
            self._series("torchserve_requests_refused_total", reason).update(1.0)
        else:
            self._series("torchserve_requests_failed_total", FAILED.get(type(error), "internal")).update(1.0)

    def cancelled(self, *, running: bool) -> None:
        """Count a prediction whose client left before the answer."""
        reason = "client_left_running" if running else "client_left_queued"
        self._series("torchserve_requests_cancelled_total", reason).update(1.0)

    def generated(self, report: EngineReport, first_tokens: Sequence[float]) -> None:
        """Count what an engine reports, and the seconds in which requests have had their first tokens."""
        if self._text is not None and not self._over:
            self._text.count(report, first_tokens)

    # ---- batches and workers

    def batch_finished(
        self, size: int, formed_in: float, took: float, handler: float, cause: Enum, device: str
    ) -> None:
        """Count a batch of `size` requests, by why it was released and the kind of device that ran it.

        In seconds: `formed_in` from the arrival of its oldest request until a worker got it, `took` until its answers
        were back, `handler` in the handler.
        """
        self._ended.append((size, formed_in, took, handler, time.time(), (cause, device)))
        if not self._due:
            self._settle_soon()
        elif len(self._ended) >= MANY:
            self.settle()

    def samples(self, emitted: Sequence[Sample], request_ids: Sequence[str]) -> None:
        """Count the values that the handler emitted for a batch of these requests."""
        self._books.samples(emitted, request_ids, gather=self.gathers)

    def worker_loaded(self, worker: str, milliseconds: float) -> None:
        self._books.worker_loaded(worker, milliseconds)

    def engine_metrics(self, worker: str, text: str) -> None:
        self._books.engine_metrics(worker, text)

    def worker_restarted(self, cause: str) -> None:
        self._series("torchserve_worker_restarts_total", cause).update(1.0)

    # ---- what has been noted

    def settle(self) -> None:
        """Count what has been noted."""
        self._due = False
        if self.gathers:
            self._books.log_gathered()
        for named, asked in self._asked.items():
            if asked:
                self._asked[named] = 0
                (self._ts.get(named) or self._bind_ts(named))[0](asked)
                self._total(asked)
        for named, answers in self._answers.items():
            if answers:
                self._settle_answers(answers, named=named)
                answers.clear()
        if self._ended:
            self._settle_batches(self._ended)
            self._ended.clear()

    def _settle_soon(self) -> None:
        if self._soon is None:
            self.settle()
        else:
            self._due = True
            self._soon(self._settle_if_due)

    def _settle_if_due(self) -> None:
        if self._due:  # else somebody has read the metrics meanwhile
            self.settle()

    def _settle_answers(self, answers: Sequence[tuple[float, float]], *, named: bool) -> None:
        seconds, queued = zip(*answers, strict=True)
        self._tally.succeeded += len(seconds)
        self._tally.took += sum(seconds)
        self._tally.queued += sum(queued)
        self._duration(seconds)
        if self._text is not None:
            self._text.whole(seconds)
        self._queued(queued)
        _, latency, waited = self._ts.get(named) or self._bind_ts(named)
        latency([each * 1e6 for each in seconds])
        waited([each * 1e6 for each in queued])
        self._queue_time([each * 1e3 for each in queued])

    def _settle_batches(self, ended: Sequence[_Ended]) -> None:
        for size, _, whole, inner, at, _ in ended:
            self._tally.batch(size, whole, inner, at)
        sizes, formed_in, took, handler, _, kinds = zip(*ended, strict=True)
        self._thread_time([max(0.0, (whole - inner) * 1e3) for whole, inner in zip(took, handler, strict=True)])
        self._size(sizes)
        self._formation(formed_in)
        self._worker(took)
        self._handler(handler)
        for kind, batches in Counter(kinds).items():
            count = self._batches.get(kind)
            if count is None:
                cause, device = kind
                count = self._series("torchserve_batches_total", cause.value, device).update
                self._batches[kind] = count
            count(batches)

    # ---- its series

    @property
    def tally(self) -> Tally:
        """The sums since the version was registered."""
        self.settle()
        return self._tally

    @property
    def requests(self) -> int:
        """The number of predictions that were asked for."""
        self.settle()
        return int(getattr(self._requests, "value", 0))

    def shown(self) -> Iterator[tuple[str, tuple[str, ...], Shown]]:
        """Yield each of our own series of this version: the metric's name, the labels that follow model and version."""
        self.settle()
        for family, values in list(self._bound):
            yield family.name, values[2:], family.series(*values)

    def unbind(self) -> None:
        """Remove the series of this version from the families; TorchServe's counters stay."""
        self.settle()
        self._over = True
        for family, values in self._bound:
            family.forget(*values)
        self._bound.clear()

    def _bind_ts(self, named: bool) -> tuple[Update, UpdateAll, UpdateAll]:
        labels = (self.model, self.version if named else "default", self._host)
        total, latency, waited = (self._books.server(name, *labels) for name in TS)
        bound = self._ts[named] = total.update, latency.update_all, waited.update_all
        return bound

    def _series(self, name: str, *more: str) -> Series:
        if self._over:
            return NOTHING
        family = self._books.own(name)
        values = (self.model, self.version, *more)
        self._bound.add((family, values))
        return family.series(*values)

    def _attach(self, name: str, read: Callable[[], float], *more: str) -> None:
        family = self._books.own(name)
        values = (self.model, self.version, *more)
        self._bound.add((family, values))
        family.attach(values, Reading(read))


class TextMetrics:
    """The counts of what a model version generates."""

    def __init__(self, series: Callable[..., Series]) -> None:
        self._prompt = series("vllm:prompt_tokens_total").update
        self._generation = series("vllm:generation_tokens_total").update
        self._queries = series("vllm:prefix_cache_queries_total").update
        self._hits = series("vllm:prefix_cache_hits_total").update
        self._first = series("vllm:time_to_first_token_seconds").update_all
        self._gaps = series("vllm:inter_token_latency_seconds").update_all
        self._gaps_too = series("vllm:time_per_output_token_seconds").update_all
        self.whole = series("vllm:e2e_request_latency_seconds").update_all
        self._ends = {reason: series("vllm:request_success_total", reason).update for reason in END_REASONS}

    def count(self, report: EngineReport, first_tokens: Sequence[float]) -> None:
        """Count what an engine reports."""
        self._prompt(report.prompt_tokens)
        self._generation(report.generation_tokens)
        self._queries(report.prefix_queries)
        self._hits(report.prefix_hits)
        self._first(first_tokens)
        self._gaps(report.gaps)
        self._gaps_too(report.gaps)
        for reason in report.ended:
            self._ends.get(reason, self._ends["error"])(1.0)
