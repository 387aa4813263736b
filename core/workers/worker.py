"""Worker: one backend process and the connection to it: loads the model, runs batches, and reports its end.

A ModelScheduler hands it batches (`run`). Each ends in exactly one call of the scheduler's `finish`, `fail` or
`requeue`, whatever the process does.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Sequence
from typing import Any

from ...scheduler.job import Batch, Job
from ...scheduler.model_scheduler import ModelScheduler
from ...scheduler.tokens import EngineBounds
from ..errors import HandlerFailed
from ..oip.signature import Signature
from ..payload import Body
from ..wire.frames import encode
from ..wire.messages import Answer, Cancel, EngineMetrics, EngineReport, Failure, Loaded, Notes, Predict, Profiled
from .async_slot import Opening
from .back_pressure import BackPressure
from .batch_rows import rows_of
from .broken_runs import ANOTHER_CHANCE, Death, end_runs
from .connection import Connection, FromBackend
from .engine_load import EngineLoad
from .load_failed import LoadFailed
from .loading import Loading, check_loaded
from .model_calls import CALLS, WorkerCalls
from .observer import WorkerObserver
from .outcomes import outcomes_of, replies
from .pieces import PIECES, pass_on
from .profiles import WorkerProfiles
from .response_timer import ResponseTimer
from .run import Latest, Run, expect
from .thread_stacks import kill_hung
from .worker_process import WorkerProcess, describe_exit
from .worker_spec import WorkerSpec

log = logging.getLogger(__name__)

_KILLED = frozenset((-signal.SIGKILL, 128 + signal.SIGKILL))  # the second is the code of a shell in between

FRAME_OVERHEAD = 1 << 20  # bytes allowed for heads, headers and metric samples beside the bodies of a frame
EVACUATION = 10.0  # seconds that a batch may still take on a lost GPU, where most batches hang
# Seconds that a batch costs the two processes beside the handler's time. It is not measured, since the time until the
# answer is read is, under load, the front's other work, which fewer and larger batches reduce.
HANDING_OVER = 1.5e-4
STOP_GRACE = 2.0  # seconds a worker may take to end after its socket was closed, before it is killed


class Worker(Connection):
    """A Runner of a ModelScheduler.

    `ended` resolves to one line that says why the process has ended; `cause` is then one word for it: exited, killed,
    unresponsive, protocol, gpu_lost, device_fault, stopped.
    """

    def __init__(
        self, spec: WorkerSpec, process: WorkerProcess, scheduler: ModelScheduler, observer: WorkerObserver
    ) -> None:
        super().__init__(spec.load.max_response_size * spec.load.batch_size + FRAME_OVERHEAD, process.results)
        loop = asyncio.get_running_loop()
        self.name = spec.name
        self.device = spec.device
        self.process = process
        self.ended: asyncio.Future[str] = loop.create_future()
        self.started_at = time.time()
        self.stopping = False
        self.has_answered = False
        self.cause = ""
        self.failed: tuple[float, Failure] | None = None  # the handler's last failure, and when (Unix time)
        self._model = spec.load.model_name
        self._loop = loop
        self._scheduler = scheduler
        self._observer = observer
        self._load = spec.load
        self._timeout = spec.timeout
        self._idempotent = spec.idempotent
        self._requests = process.lent
        self._results = process.results
        if process.results is not None:
            process.results.busy = lambda: bool(self._runs)
        self._pressure = BackPressure(self._stop_reading, self._read_on)
        self.loading = Loading(loop)
        # By the batch's number, in the order of sending. An asynchronous handler runs many batches at a time; for any
        # other, the second one waits in the socket, so that no time is lost between the two.
        self._runs: dict[int, Run] = {}
        self._timer = ResponseTimer(loop, spec.timeout, self._runs, self._overdue)
        self._given_up: dict[int, Run] = {}  # timed out; the process may still read their bodies
        self.signature: Signature | None = None  # what the loaded model tells of its tensors
        self.calls = WorkerCalls(spec, scheduler, self._runs, self._send)
        self.profiles = WorkerProfiles(spec.name, self._send)
        self.engine: EngineLoad | None = None  # of a handler that generates text
        self._latest = Latest()
        by_slots = spec.load.asynchronous and not spec.generates
        self._opening = Opening(self, scheduler, by_slots=by_slots)
        self._heard_at = 0.0
        self._verdict: str | None = None
        self._dying: asyncio.Task[None] | None = None  # of a process that hangs: its stacks are read, then it is killed
        self._leaving = ""
        self._finished: asyncio.Future[None] | None = None  # set by stop() when it waits for the running batch
        process.exited.add_done_callback(self._on_exit)

    # ---- life

    async def load(self, startup: float, warm_up: float) -> None:
        """Connect and have the process load the model within `startup` seconds, and warm it up within `warm_up`.

        Raises LoadFailed. Then `open` must be called or, after any exception, `discard`.
        """
        await self.process.connect(self)
        self._send(encode(self.process.localized(self._load)))
        loaded = await self.loading.outcome(startup, warm_up)
        if isinstance(loaded, str):
            self._judge(loaded, "stopped")
            await kill_hung(self.name, loaded, self.process)
            raise LoadFailed(f"Backend worker did not respond in given time: {self.name} {self._verdict}")
        check_loaded(self.name, loaded)
        self.signature = loaded.signature
        if loaded.engine is not None:
            self.engine = EngineLoad(loaded.engine, self._scheduler, self._observer)
        self.process.settle()

    def open(self) -> None:
        """Have the scheduler hand over batches from now on. Nothing happens if the process has ended already."""
        if not self.ended.done():
            self._opening.open()

    async def discard(self, *, at_once: bool) -> None:
        """End a process that doesn't serve yet, and return when it has ended.

        Unless `at_once`, it may first report what went wrong: a process that could not load its model ends by itself.
        """
        self.stopping = True
        if at_once:
            self._kill("was stopped while it loaded the model")
        await self._wait_for_end()

    async def stop(self, grace: float) -> None:
        """Take no more batches, let the running one finish for at most `grace` seconds, then end the process.

        May be called again, with a shorter `grace`.
        """
        self.stopping = True
        self._opening.close()
        if self._runs:
            self._finished = self._finished or self._loop.create_future()
            ends: list[asyncio.Future[Any]] = [self._finished, self.ended]
            await asyncio.wait(ends, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        if self._runs:
            self._kill(f"was stopped while it still ran a batch after {grace:g} s")
        elif self._transport is not None:
            self._transport.close()
        await self._wait_for_end()

    async def _wait_for_end(self) -> None:
        _, late = await asyncio.wait([self.ended], timeout=STOP_GRACE)
        if late:
            self._kill("did not end when it was told to")
            await asyncio.wait([self.ended])  # `await self.ended` would cancel the future if this is cancelled

    def evacuate(self, reason: str) -> None:
        """Take no more batches since the GPU or the node is lost, and end the process once the running one has ended.

        The process ends after EVACUATION seconds at the latest.
        """
        log.error("%s leaves its %s: %s", self.name, "node" if self.process.where else "GPU", reason)
        self._opening.close()
        self._leaving = reason
        if not self._runs:
            self._kill(reason, "gpu_lost")
        else:
            self._loop.call_later(EVACUATION, self._kill, reason, "gpu_lost")

    @property
    def notes(self) -> dict[str, str]:
        """What was chosen for the model while it loaded or since, by subject."""
        return self.loading.notes

    @property
    def busy(self) -> bool:
        return bool(self._runs)

    @property
    def requests(self) -> tuple[str, str]:
        """The request ids and the trace ids, each joined by commas, of the running batch, or of the last one, whose
        output may come after its answer; "" if several batches run, since any of them may have printed.
        """
        return ("", "") if self._load.asynchronous and len(self._runs) > 1 else self._latest.ids()

    # ---- the scheduler's side

    @property
    def bounds(self) -> EngineBounds | None:
        """The bounds of the engine, None if there is none."""
        return None if self.engine is None else self.engine.bounds

    def run(self, batch: Batch) -> None:
        rows, bodies, traces = rows_of(batch.jobs)
        run = self._runs[batch.id] = Run(batch, rows)
        trace = run.record(traces, self.name, self._load) if traces else ""
        if self._load.asynchronous or len(self._runs) == 1:
            self._begin(run)
        if self._load.asynchronous:
            self._opening.taken(batch, len(self._runs))
        if self.engine is not None:
            self.engine.begun(batch.jobs[0])
        places: dict[int, int] = {}
        if self._requests is not None:
            places, run.kept = self._requests.place(bodies)
        if self.calls.open:
            self.calls.taken(batch)
        free = self._results.returned() if self._results is not None else ()
        self._send(encode(Predict(batch.id, rows, free, trace), bodies, places))

    def interrupt(self, batch: Batch) -> None:
        """Have an asynchronous handler end a batch whose clients have all gone; any other runs it to its end, but its
        calls to other models end.
        """
        if self.calls.open:
            self.calls.batch_ended(batch, "its client has left")
        if self._load.asynchronous and batch.id in self._runs:
            self._send(encode(Cancel(batch.id)))

    def batch_started(self, batch: Batch) -> None:
        self._begin(self._runs[batch.id])

    def _begin(self, run: Run) -> None:
        self._latest = Latest(run.rows, run.trace)
        run.sent_at = time.perf_counter()
        self._timer.begin(run)
        if self._pressure.waiting:
            run.stop(self._loop.time())

    def _overdue(self, batch: Batch) -> None:
        self._observer.batch_overdue(self.name)
        reason = f"did not answer within {self._timeout:g} s (responseTimeout)"
        if not self._load.asynchronous or time.perf_counter() - self._heard_at >= self._timeout:
            self._judge(reason, "unresponsive")
            self._opening.close()
            self._pause()  # what it says while its stacks are read is too late
            self._dying = self._dying or self._loop.create_task(kill_hung(self.name, reason, self.process))
            return
        # The process still answers other batches: only this request is stuck.
        self._given_up[batch.id] = self._runs[batch.id]
        self._send(encode(Cancel(batch.id)))
        self._end(batch, [HandlerFailed(f"{self.name} of model {self._model} {reason}", 500)])

    def hold(self, job: Job) -> float:
        """Wait for the client of `job`, which reads slowly; see back_pressure.Holds."""
        return self._pressure.hold(job, self._company(), self._loop.time())

    def release(self, job: Job) -> None:
        """Stop waiting for the client of `job`."""
        self._pressure.release(job, self._company(), self._loop.time())

    def _company(self) -> list[Job]:
        return [job for run in self._runs.values() if run.due is not None for job in run.batch.jobs]

    def _stop_reading(self) -> None:
        self._pause()
        self._scheduler.paused(self)
        self._timer.stop()

    def _read_on(self) -> None:
        self._resume()
        self._heard_at = time.perf_counter()
        self._scheduler.resumed(self)
        self._timer.go_on()

    # ---- the socket's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.ended.done():
            transport.close()

    def _broken(self, error: Exception) -> None:
        self._kill(f"broke the protocol: {error}", "protocol")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.process.exited.done() and not self.stopping:
            # The process may be about to exit, with a code worth waiting for; if it lives on, it is useless.
            self._loop.call_later(STOP_GRACE, self._kill, "closed its connection", "protocol")

    def _receive(self, frame: FromBackend) -> None:
        message = frame.message
        if self._load.asynchronous:
            self._heard_at = time.perf_counter()
            if isinstance(message, Answer) and message.batch in self._given_up:
                del self._given_up[message.batch]
                return
        if isinstance(message, PIECES):
            pass_on(message, frame.bodies, self._runs, self._given_up, self._scheduler)
        elif isinstance(message, Answer):
            self._finish(message, frame.bodies)
        elif isinstance(message, EngineReport):
            if self.engine is not None:
                self.engine.receive(message)
        elif isinstance(message, EngineMetrics):
            self._observer.engine_metrics(self.name, message.text)
        elif isinstance(message, CALLS):
            self.calls.receive(message, frame.bodies)
        elif isinstance(message, Profiled):
            self.profiles.receive(message, frame.bodies)
        else:
            self.loading.receive(message)
            if isinstance(message, Notes):
                self._scheduler.relearn(self)

    def _finish(self, answer: Answer, bodies: Sequence[Body]) -> None:
        run = expect(self._runs, answer.batch, (answer.results or bodies) if answer.code == 200 else None, bodies)
        batch = run.batch
        if answer.fault:  # running batches fail when the process ends; those not begun are requeued
            self.failed = (time.time(), answer.failure) if answer.failure is not None else self.failed
            self._kill(f"was ended because its device context is dead after {answer.fault},", "device_fault")
            return
        self.has_answered = True
        took = time.perf_counter() - run.sent_at
        batch.handler_seconds = answer.handler_ms / 1e3
        if answer.timing is not None:
            run.answered(answer)
        self._observer.batch_finishing(batch, answer)
        if answer.code == 200:
            outcomes = outcomes_of(self._load, batch.jobs, replies(answer.results, bodies))
            seconds = max(0.0, batch.handler_seconds - run.waited) + HANDING_OVER
            self._end(batch, outcomes, seconds, typical=not answer.untypical)
        else:
            self._end(batch, [HandlerFailed(answer.message, answer.code)] * len(batch.jobs))
        self._observer.batch_finished(self.name, batch, took * 1000.0, answer)
        if answer.failure is not None:
            self.failed = (time.time(), answer.failure)

    def _end(
        self, batch: Batch, outcomes: Sequence[object], seconds: float | None = None, *, typical: bool = True
    ) -> None:
        """Deliver the outcomes of a running batch, and take another one or, if the worker is leaving, end."""
        if self._pressure.waiting:  # almost never, and asking for each job would cost every request some 3 us
            for job in batch.jobs:
                self.release(job)
        if self._load.asynchronous and not self.stopping and not self._leaving:
            self._opening.freed(len(self._runs))
        if self.calls.open:
            self.calls.batch_ended(batch, "it has been answered")
        self._runs.pop(batch.id).end()
        if self.engine is not None:
            self.engine.over(batch.jobs[0])
        self._scheduler.finish(batch, outcomes, seconds=seconds, typical=typical)
        if self._runs:
            return
        if self._finished is not None and not self._finished.done():
            self._finished.set_result(None)
        if self._leaving:
            self._kill(self._leaving, "gpu_lost")

    # ---- the end

    def _kill(self, verdict: str, cause: str = "stopped") -> None:
        self._judge(verdict, cause)
        self.process.kill()

    def _judge(self, verdict: str, cause: str) -> None:
        """Note why the process is killed, unless a reason is known."""
        if self._verdict is None:
            self._verdict, self.cause = verdict, cause

    def _on_exit(self, exited: asyncio.Future[int]) -> None:
        code = exited.result()
        reason = self._verdict or self.process.ending or describe_exit(code)
        self.cause = self.cause or ("killed" if code < 0 else "exited")
        if self._transport is not None:
            self._transport.close()
        else:
            self.process.abandon()
        named = f"{self.name}{self.process.where}"
        self.loading.end(Loaded(507 if code in _KILLED else 500, f"Worker died. {named} {reason}"))
        self._given_up.clear()
        self.calls.close()
        self.profiles.close()
        self._observer.engine_metrics(self.name, "")
        if self._results is not None:
            self._results.close()
        self._opening.close()
        self._timer.close()
        runs = list(self._runs.values())
        self._runs.clear()
        # TorchServe takes a SIGKILL that it did not send itself for the system's out-of-memory killer.
        death = Death(named, reason, out_of_memory=code in _KILLED and self._verdict is None)
        repeats = self._idempotent and self.cause in ANOTHER_CHANCE
        end_runs(self._scheduler, self._load, runs, death, repeats=repeats)
        if not self.ended.done():
            self.ended.set_result(reason)
