"""Service: the backend without its socket: messages in, messages out, and a handler between them.

Whatever a handler does, short of ending the process, becomes an answer.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import msgspec

from ..handlers.context import Context, RequestProcessor
from ..handlers.metrics.emitter import MetricsEmitter
from ..handlers.model_call import ModelOrder
from ..handlers.speed.turns import Later
from ..oip.signature import Signature
from ..payload import Body
from ..version import __version__
from ..wire.frames import encode
from ..wire.messages import (
    Answer,
    Capacity,
    EngineMetrics,
    EngineReport,
    Failure,
    Initialized,
    Load,
    Loaded,
    Notes,
    Partial,
    Pieces,
    Predict,
    Result,
)
from .accepted import Accepted, accept
from .device_fault import device_fault
from .envelopes import enveloped
from .failure import (
    describe,
    detail,
    failure_of,
    out_of_memory,
    print_traceback,
    sendable,
    sendable_notes,
    where,
)
from .further_pieces import further_piece, remember_head
from .gathered_writes import GatheredWrites
from .hook_times import HookTimes
from .infer_outputs import infer_result
from .inputs import request_headers
from .isolation import Rows, failed_row, repeatable, run_alone
from .loader import EntryPoint, add_model_path, learn_signature, load_entry_point
from .model_calls import ModelCalls, Pending
from .model_files import read_manifest, read_yaml_config
from .outputs import InvalidOutput, UnsupportedOutput, encode_value, http_status, make_result, mark_steps
from .profiler import Profiler
from .shared_memory import Outbox
from .verdict import verdict

log = logging.getLogger(__name__)

_CANCELLED = (499, "Cancelled: nobody waits for the answer any more")

Send = Callable[[list[Body]], None]


class Service:
    """A model with its handler.

    `send` writes a frame's buffers to the front. It is called by the thread that runs the batch, and by any thread of
    the handler that streams, one at a time. Large results go to the `outbox`, if there is one and while it has room.
    """

    def __init__(self, send: Send, outbox: Outbox | None = None) -> None:
        self.send = send
        self.calls = ModelCalls(self._say)
        self.profiler = Profiler(self._say)
        self._outbox = outbox
        self._lock = threading.Lock()
        self._running: int | None = None
        self._streamed = False  # whether the running batch has sent a piece of its answers
        self.send_piece = lambda batch, body: self.send(encode(Pieces((batch,)), [body]))
        self._repeating = False  # whether its requests are run again, each alone
        self.later: Later | None = None  # what is done with the loaded model between its requests
        self.fault = ""
        """What has killed the device context of this process: nothing more can be answered."""
        self._accepted = Accepted(Predict(0, ()))  # the rows of the running batch
        self._signature: Signature | None = None
        self._load: Load
        self._context: Context
        self._entry: EntryPoint
        self._hook_times: HookTimes

    def load(self, load: Load, *, defers: bool = False) -> Loaded:
        """Load the model, and answer with a Loaded whose code is 200, 507 (out of memory) or 500."""
        try:
            return self.open(load, defers=defers)
        except BaseException as error:  # noqa: BLE001  whatever a handler raises, SystemExit included, is an answer
            print_traceback(detail(error))
            code = 507 if out_of_memory(error) and not device_fault(error) else 500
            failure = failure_of(error, load.model_dir)
            return Loaded(code, sendable(f"{describe(error)}{where(failure)}"), failure)

    def open(self, load: Load, *, defers: bool = False) -> Loaded:
        """Load the model. Raises whatever the handler raises. With `defers`, what makes it faster may be left to
        `later`.
        """
        os.environ.update(load.environment)
        add_model_path(load.model_dir, load.handler)
        manifest = read_manifest(load.model_dir)
        self._load = load
        self._context = Context(
            load.model_name,
            load.model_dir,
            manifest,
            load.batch_size,
            load.gpu_id,
            __version__,
            load.limit_max_image_pixels,
            MetricsEmitter(load.model_name, load.metrics),
            read_yaml_config(load.model_dir, manifest),
        )
        self._context.files_stay = load.files_stay
        self._context.defers = defers
        self._context.report_engine = self._report_engine
        self._context.begin_call = self._begin_call
        self._context.max_response_size = load.max_response_size
        self._entry = load_entry_point(load.handler, self._context, self._tell_initialized)
        learnt = self._signature = load.signature or learn_signature(self._entry)
        self._hook_times = HookTimes(self._entry, shared=load.asynchronous)
        if load.envelope:
            self._entry = enveloped(load.envelope, self._entry)
        self.later = self._context.later
        self._context.tell_notes = self.tell
        notes = sendable_notes(self._context.notes)
        engine = self._context.monitored_engine
        bounds = None if engine is None else msgspec.convert(engine.capacity, Capacity, from_attributes=True)
        return Loaded(200, f"Model {load.model_name} loaded.", notes=notes, signature=learnt, engine=bounds)

    def tell(self, notes: Mapping[str, str]) -> None:
        """Tell the front what was chosen for the model, after it has loaded."""
        self._say(encode(Notes(sendable_notes(notes))))

    def _report_engine(self, report: object) -> None:
        text = isinstance(report, str)
        buffers = encode(EngineMetrics(report) if text else msgspec.convert(report, EngineReport, from_attributes=True))
        self._say(buffers)

    def _say(self, buffers: list[Body]) -> None:
        with self._lock:
            self.send(buffers)

    def _begin_call(self, order: ModelOrder) -> Pending:
        places = None if self._repeating else self._accepted.places
        return self.calls.begin(order, self._running, places, self._load)

    def gather(self, writes: GatheredWrites) -> None:
        """Have what is sent in a turn of the loop go out together from now on."""
        self.send, self.send_piece = writes.send, writes.piece
        self._context.flush_partials = writes.flush_now

    def _tell_initialized(self) -> None:
        if "LOCAL_RANK" not in os.environ:  # the other ranks, for which this one waits, may still load
            self.send(encode(Initialized()))

    def fork(self) -> Service:
        """Return a service of the same model and front, with its own context, for a batch that runs beside others."""
        made = copy.copy(self)
        made._context = copy.copy(self._context)  # noqa: SLF001
        made._context.metrics = self._context.metrics.fork()  # noqa: SLF001
        made._context.begin_call = made._begin_call  # noqa: SLF001
        return made

    def respond(self, predict: Predict, bodies: Sequence[Body]) -> None:
        """Run a batch and send its Answer."""
        self._conclude(*self.predict(predict, bodies))

    async def respond_soon(self, predict: Predict, bodies: Sequence[Body]) -> None:
        """Run a batch and send its Answer, awaiting what an asynchronous handler returns."""
        steps = self._steps(predict, bodies)
        try:
            output = next(steps)
            try:
                output = await output if inspect.isawaitable(output) else output
            except BaseException as error:  # noqa: BLE001  whatever a handler raises is an answer
                steps.throw(error)
            steps.send(output)
        except StopIteration as ended:
            self._conclude(*ended.value)

    def cancelled(self, batch: int) -> None:
        """Send the Answer to a batch that was cancelled before it began."""
        self._conclude(Answer(batch, *_CANCELLED, (), 0.0), [])

    def _conclude(self, answer: Answer, results: list[Body]) -> None:
        places = self._place(results)
        try:
            buffers = encode(answer, results, places)
        except (TypeError, ValueError) as error:
            log.error("the metrics of batch %d are dropped, a name or value can't be sent: %s", answer.batch, error)
            buffers = encode(msgspec.structs.replace(answer, samples=()), results, places)
        with self._lock:
            self._running = None
            self.send(buffers)

    def _place(self, bodies: Sequence[Body]) -> dict[int, int]:
        return {} if self._outbox is None else self._outbox.place(bodies)

    def predict(self, predict: Predict, bodies: Sequence[Body]) -> tuple[Answer, list[Body]]:
        """Run a batch. The Answer's code is 200, with a result for each row, or the status the batch failed with."""
        steps = self._steps(predict, bodies)
        try:
            steps.send(next(steps))
        except StopIteration as ended:
            return ended.value
        raise AssertionError("a batch has two steps")

    def _steps(self, predict: Predict, bodies: Sequence[Body]) -> Generator[Any, Any, tuple[Answer, list[Body]]]:
        """Run a batch as a generator: yield what the handler returned, be sent its result, and return the Answer.

        The caller so decides whether to await what is yielded.
        """
        if self._outbox is not None:
            self._outbox.give(predict.free)
        context = self._context
        metrics = context.metrics
        isolates = self._load.isolate_within > 0 and len(predict.rows) > 1
        bodies = repeatable(bodies) if isolates else bodies
        rows = Rows()
        took = 0.0
        context.untypical = False
        started = time.perf_counter()
        recording = self._hook_times.begin(started) if predict.trace or self._load.times_hooks else None
        accepted = self._accepted = Accepted(predict, list(bodies))
        self._begin(predict)
        try:
            accepted = self._accepted = accept(predict, bodies, self._load)
            if accepted.refused:
                predict, bodies = accepted.predict, accepted.bodies
                self._begin(predict)
            started = time.perf_counter()
            try:
                output = (yield self._entry(accepted.data, context)) if accepted.data or not accepted.refused else []
            finally:
                took = (time.perf_counter() - started) * 1000.0
            rows = self._results(output)
            metrics.batch_took(took)
            code, message, failure = 200, "", rows.failure
        except asyncio.CancelledError:
            code, message, failure = *_CANCELLED, None
        except BaseException as error:  # noqa: BLE001  whatever a handler raises, SystemExit included, is an answer
            code, message, failure = self._failure(error)
            if isolates and self._may_repeat(error):
                metrics.take()  # drop the batch's samples, which the repetition counts again
                until = started + self._load.isolate_within
                rows = self._run_alone(predict, bodies, failed_row(code, message), until)
                took = (time.perf_counter() - started) * 1000.0
                code, message, failure, context.untypical = 200, "", rows.failure, True
            elif code == 200:  # TorchServe's answer to PredictionException(..., 200)
                rows = Rows(bodies=[b"error"] * len(predict.rows))
            elif accepted.refused and not self.fault:
                rows, code, message = accepted.failed(code, message), 200, ""
        if code == 200 and len(rows.bodies) < len(accepted.places) + len(accepted.refused):
            rows = accepted.complete(rows)
        results = () if rows.plain else tuple(rows.results)
        samples = (*rows.samples, *accepted.placed(metrics.take()))
        timing = None if recording is None else self._hook_times.end(recording, started, took)
        return (
            Answer(
                predict.batch, code, message, results, took, samples, failure, context.untypical, self.fault, timing
            ),
            rows.bodies,
        )

    def _begin(self, predict: Predict) -> None:
        """Make the context that of this batch."""
        context = self._context
        context.request_ids = {index: row.request_id for index, row in enumerate(predict.rows)}
        context.request_processor = [RequestProcessor(request_headers(row)) for row in predict.rows]
        context.send_partial = self._send_partial
        context.traceparent = predict.trace
        context.metrics.set_request_ids(context.request_ids)
        self._running = predict.batch
        self._streamed = False

    def _may_repeat(self, error: BaseException) -> bool:
        """Return whether the requests of a batch that ended with `error` may be run again.

        None may have had a piece of its answer, and the handler neither asked to end the process nor broke its contract
        for the batch as a whole.
        """
        if self._streamed or self.fault:
            return False
        return isinstance(error, Exception) and not isinstance(error, InvalidOutput)

    def _run_alone(self, predict: Predict, bodies: Sequence[Body], refused: tuple[Result, Body], until: float) -> Rows:
        log.warning(
            "model: %s, a batch of %d failed; its requests are run again one by one (isolateErrors)",
            self._load.model_name, len(predict.rows),
        )  # fmt: skip
        self._repeating = True
        try:
            return run_alone(self.predict, predict, bodies, refused, until)
        finally:
            self._repeating = False

    def _results(self, output: Any) -> Rows:
        processors = self._context.request_processor
        if not isinstance(output, list):
            raise InvalidOutput("Invalid model predict output", f"expected a list, got {type(output).__name__}")
        if len(output) != len(processors):
            raise InvalidOutput(
                f"number of batch response mismatched: expected {len(processors)}, got {len(output)}",
                "a handler returns one element for each request of the batch",
            )
        mark_steps(processors, self._context.stopping_criteria, output)
        return self._encode(output, 200)

    def _encode(self, elements: Sequence[Any], code: int) -> Rows:
        limit, literal = self._load.max_response_size, self._load.literal_non_finite
        rows = Rows()
        for index, (processor, element) in enumerate(zip(self._context.request_processor, elements, strict=True)):
            infer = self._accepted.infers[index]
            if isinstance(element, Exception):
                status, message, failure = self._failure(element)
                rows.add(*failed_row(status, message), failure)
            elif infer is not None:
                load = self._load
                rows.add(*infer_result(processor, element, infer, load, self._signature, code))
            else:
                body = encode_value(element, literal_non_finite=literal)
                rows.add(*make_result(processor, body, limit, code))
        return rows

    def _failure(self, error: BaseException) -> tuple[int, str, Failure | None]:
        """Return status, text and, unless the handler meant to fail, the description for its author."""
        if fault := device_fault(error):
            self.fault = fault
        return verdict(error, self._load, fault)

    def _send_partial(self, elements: Sequence[Any], code: int) -> None:
        processors = self._context.request_processor
        piece = further_piece(processors, elements, code, self._load.max_response_size)
        if piece is not None:
            with self._lock:
                if self._running is not None:
                    self.send_piece(self._running, piece)
                    return
        expected = len(processors)
        if len(elements) != expected:
            raise ValueError(f"an intermediate response has {len(elements)} elements for {expected} requests")
        try:
            rows = self._encode(elements, http_status(code))
        except UnsupportedOutput as error:
            raise ValueError(f"an intermediate response can't be sent: {error}") from error
        failed = next((result.error for result in rows.results if result.error), None)
        if failed:
            raise ValueError(failed)
        rows = self._accepted.complete(rows)  # a piece that is an error is not sent to the client
        with self._lock:
            if self._running is None:
                raise ValueError("an intermediate response came after the handler had returned")
            if self._repeating:
                raise ValueError("a request that is run again alone (isolateErrors) can't send intermediate responses")
            self._streamed = True
            partial = Partial(self._running, () if rows.plain else tuple(rows.results))
            self.send(encode(partial, rows.bodies, self._place(rows.bodies)))
            remember_head(processors, self._accepted.infers, code)
