"""Model: one version of a model: its archive and options, the scheduler that queues its requests, the pool of its
workers.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time

from msgspec.structs import replace

from ...scheduler.errors import (
    GenerationLate,
    JobExpired,
    QueueClosed,
    SchedulerError,
    SequenceEnded,
    TooManySequences,
    TooManyTokens,
    WouldBeLate,
)
from ...scheduler.errors import QueueFull as JobQueueFull
from ...scheduler.job import Job, Sink
from ...scheduler.model_scheduler import ModelScheduler
from ..config.saved_models import SavedModel
from ..errors import Draining, NoTicket, NotInTime, NoWorker, QueueFull, RequestExpired, ServeError
from ..oip.signature import Signature, check_signature
from ..payload import Payload
from ..workers.engine_load import EngineLoad
from ..workers.launcher import Launcher
from ..workers.pool import Pool
from ..workers.shared_memory import Requests, shared
from .generation_errors import generation_error
from .length_class import length_class
from .model_spec import ModelSpec, SharedParts, batch_policy, load_message, share_policy, shared_answers
from .observer import ModelObserver
from .on_demand import OnDemandModel
from .payloads import payloads_of
from .response_cache import ResponseCache
from .rows import check_count, rows_to_cut
from .scaler import Scaler
from .sequence import SequenceKeys
from .slow_request import account_of
from .token_demand import client_of, demand_of

log = logging.getLogger(__name__)

# Seconds that a refused client is asked to wait: the default, the most, and while this server restarts.
_SOON, _LONGEST_RETRY, _RESTART = 1.0, 30.0, 5.0


class Model:
    """A registered version of a model: the side that requests use, and the one that management shows and changes."""

    def __init__(self, spec: ModelSpec, parts: SharedParts) -> None:
        options, gpu_allocator = spec.options, parts.gpu_allocator
        self.name, self.version, self.url = spec.name, spec.version, spec.located.url
        self.runtime, self.archive = spec.runtime, spec.archive
        self.options = options
        self.downloaded = spec.located.path if spec.located.downloaded else None
        self._begun_in = options.client_timeout / 1000.0 or math.inf
        self._done_in = options.latency_slo / 1000.0 or math.inf
        self._limited = min(self._begun_in, self._done_in) < math.inf
        self._label = f'Model "{spec.name}" version {spec.version}'
        self.at_startup = spec.at_startup
        self.aliases = spec.aliases
        self.workflow = spec.workflow
        self.registered_at = time.time()
        self._archive_name = spec.located.name
        self._limit_of = {options.first_token: "timeToFirstTokenMs", options.client_timeout: "clientTimeoutInMills"}
        self._fair_share_header = parts.settings.fair_share_header.lower()
        self._sequence_keys = SequenceKeys.of(parts.settings)
        self._chosen_handler = spec.chosen_handler
        policy = batch_policy(spec.options, share_policy(parts.settings.client_limits))
        self._takes_turns = options.generates or policy.shares is not None
        # Whether a job says more than a payload and its priority; most models' don't.
        self._details = bool(self._limited or options.stateful or self._takes_turns or options.length_buckets)
        self.scheduler = ModelScheduler(policy, refused=self._refused, clock=time.monotonic)
        self.metrics = parts.metrics.of_model(spec.name, spec.version)
        self.metrics.gathers = spec.inner
        apart = parts.remote is not None or (options.parallel and options.parallel.ranks)
        self._requests: Requests | None = None if apart else shared(Requests)
        launcher = Launcher(
            load=load_message(spec, parts),
            options=options,
            settings=parts.settings,
            python=spec.python,
            gpu_allocator=gpu_allocator,
            scheduler=self.scheduler,
            observer=ModelObserver(self.metrics),
            requests=self._requests,
            remote=parts.remote,
            fork_server=parts.fork_server,
            calls=parts.calls,
        )
        name, next_id = f"{spec.name}_{spec.version}", parts.worker_ids.next
        self.pool = Pool(launcher, name, next_id, options.max_retry_timeout, self._hopeless)
        self.scaler = Scaler(self._label, self.scheduler, self.pool, options.scale_down_after)
        self.on_demand: OnDemandModel | None = None
        if options.on_demand:
            self.on_demand = OnDemandModel(
                self._label, self.scheduler, self.pool, options.residency, self.metrics.load_waited
            )
            gpu_allocator.on_demand.join(self.on_demand)
        self._gpu_allocator = gpu_allocator
        self._given_up: Draining | None = None
        self.cache = ResponseCache(options.cache) if options.cache else None
        if self.cache is not None:
            self.cache.shared = shared_answers(spec, parts)
        self.payload_log = payloads_of(spec, parts)
        self._watch()

    @property
    def engines(self) -> list[EngineLoad]:
        """The engines of the workers that generate text. May be called from any thread."""
        workers = [slot.worker for slot in list(self.pool.slots)]
        return [worker.engine for worker in workers if worker is not None and worker.engine is not None]

    def submit(self, payload: Payload, sink: Sink, *, named_version: bool, exclusive: bool = False) -> Job:
        """Queue a request and return its job.

        `rows_to_cut` must have passed a request with tensors. Raises NoWorker, NoTicket, QueueFull, NotInTime,
        Draining, or BadRequest for more tokens than the model's context has.
        """
        scheduler = self.scheduler
        self.scaler.arrived += 1
        unloaded = self.on_demand is not None and self.pool.unloaded
        if not (unloaded or self.pool.may_serve):
            raise NoWorker(self._no_worker(named_version))
        if self.options.job_ticket and not unloaded and scheduler.queued + scheduler.running >= scheduler.runners:
            self.scaler.turned_away += 1
            raise NoTicket(
                f"{self._no_worker(named_version)} {scheduler.runners} are there and none is free, and this model keeps"
                " no queue (useJobTicket): send it again later.",
                retry_after=scheduler.seconds_per_job,
            )
        job = Job(payload.request_id, payload, sink)
        job.priority, job.exclusive = payload.priority, exclusive
        if self._details or payload.timeout is not None:
            self._detail(job, payload)
        try:
            scheduler.submit(job)
        except WouldBeLate as error:
            raise self._refused(error) from None
        except SequenceEnded as error:
            raise QueueFull(
                f"{self._no_worker(named_version)} The sequence {error.key} has ended, by a request or by"
                " sequenceMaxIdleMSec or sequenceTimeoutMSec; a request without its header begins a new one."
            ) from None
        except TooManySequences as error:
            raise QueueFull(
                f"{self._no_worker(named_version)} {error.limit} sequences run already (maxNumSequence={error.limit}).",
                retry_after=_SOON,
            ) from None
        except (JobQueueFull, TooManyTokens) as error:
            raise self._refused(error) from None
        except QueueClosed:
            raise self._given_up or Draining(f"{self._label} is being removed and takes no new request.") from None
        if self.on_demand is not None:
            self.on_demand.called()
        return job

    def _detail(self, job: Job, payload: Payload) -> None:
        """Say of a job what the model's options have its scheduler go by."""
        if self._limited:
            job.expires, job.deadline = self._limits(payload.timeout)
        elif payload.timeout is not None:
            job.expires = job.deadline = self.scheduler.now() + payload.timeout
        if self.options.stateful:
            job.sequence, job.ends, headers = self._sequence_keys.read(payload.headers, payload.infer)
            job.payload = replace(payload, headers=headers)
        if self._takes_turns:
            job.client = client_of(payload.headers, self._fair_share_header)
        if self.options.length_buckets:
            job.length_class = length_class(payload, self.options.length_buckets)
        if self.options.generates and not job.exclusive:
            job.tokens = demand_of(payload, self.options.most_sequences)

    def slow(self, job: Job, seconds: float, end: str) -> None:
        """Log where the time of a request went that took so long until its `end`."""
        payload = job.payload
        assert isinstance(payload, Payload)
        account = account_of(job, seconds, self.scheduler.now(), end)
        trace_id = payload.trace.trace_id if payload.trace is not None else ""
        log.warning(
            "%s took %.0f ms for request %s (slowRequestMs=%d): %s", self._label, seconds * 1e3, job.id,
            self.options.slow_request, account, extra={"request_id": job.id, "trace_id": trace_id},
        )  # fmt: skip

    def rows_to_cut(self, payload: Payload) -> int:
        """Return into how many jobs a request is cut, 1 if it stays whole. Raises BadRequest for tensors that the model
        doesn't take, and for more rows than job_queue_size.
        """
        infer, signature = payload.infer, self.signature
        if infer is None or signature is None:
            return 1
        if not infer.whole:
            check_signature(infer, signature, self.name)
        if not signature.batch_dimension or self.options.stateful or self.options.continuous:
            return 1
        count = rows_to_cut(payload, signature)
        check_count(count, self.options.job_queue_size, self.name)
        return count

    def room(self, size: int) -> memoryview | None:
        """Return memory for a body of `size` bytes, which workers can read in place; None if there is none."""
        return None if self._requests is None else self._requests.take(size)

    @property
    def signature(self) -> Signature | None:
        """The inputs and outputs that the model's yaml says, or else those that a loaded model has told of."""
        if self.options.signature is not None:
            return self.options.signature
        for slot in self.pool.slots:
            worker = slot.worker
            if worker is not None and worker.signature:
                return worker.signature
        return None

    @property
    def unloaded(self) -> bool:
        """Whether this is an onDemand model without workers, which its next request brings back."""
        return self.on_demand is not None and self.pool.unloaded

    @property
    def ready(self) -> bool:
        """Whether the version has its workers, and at least one, or may be brought back by a request."""
        return self.unloaded or (self.pool.ready > 0 and not self.lacking)

    @property
    def lacking(self) -> str:
        """A sentence on the workers that are missing to the minimum, "" if none are."""
        minimum, _ = self.workers_wanted
        if self.on_demand is not None:
            return ""
        return "" if self.pool.ready >= minimum else f"{self._label} has {self.pool.ready} of {minimum} workers."

    def crowded(self, percent: int) -> str:
        """Return a sentence on the job queue if so many percent of it are taken, else ""."""
        queued, size = self.scheduler.queued, self.options.job_queue_size
        if queued * 100 < size * percent:
            return ""
        return f"{self._label} has {queued} of {size} requests in its job queue."

    async def scale(self, minimum: int, maximum: int) -> None:
        """Bring the number of workers into minimum…maximum, within which it follows the load from then on.

        Raises WorkersFailed; what could not be started is retried with back-off.
        """
        try:
            await self.pool.scale(minimum, maximum)
        finally:
            if self.options.autoscale:
                self.scaler.follow()

    async def drain(self, grace: float) -> None:
        """Serve queued and running requests for at most `grace` seconds, then end all workers."""
        self.scaler.stop()
        if self.pool.promising:
            await self.scheduler.drain(grace)
        if self.on_demand is not None:
            self.on_demand.stop()
            self._gpu_allocator.on_demand.part(self.on_demand)
        self.scheduler.close(Draining(f"{self._label} was removed before it came to this request."))
        await self.pool.stop(min(grace, 1.0))
        if self._requests is not None:
            self._requests.close()
        if self.payload_log is not None:
            await asyncio.to_thread(self.payload_log.close)

    async def give_up(self, *, running: bool) -> None:
        """Refuse what waits, since the server stops, and end all workers at once; with `running`, fail what runs, too.

        A client that waits for a worker to come up gets an answer before whoever stops the server kills it.
        """
        why = "in the time that a stop has" if running else "before the server stops"
        self._given_up = Draining(
            f"The server is stopping, and {self._label} can't answer this request {why}. Send it again.",
            retry_after=_RESTART,
        )
        self.scaler.stop()
        self.scheduler.close(self._given_up)
        if running:
            self.scheduler.fail_running(self._given_up)
        await self.pool.stop(0.0)

    @property
    def failed(self) -> bool:
        """Whether fewer workers serve, or may soon, than were asked for."""
        if self.on_demand is not None:
            return self.pool.in_state("given_up") > 0
        return self.pool.promising < self.pool.minimum

    @property
    def workers_wanted(self) -> tuple[int, int]:
        """The minimum and maximum of workers: those of the last scaling, or the options' before the first."""
        if self.pool.scaled:
            return self.pool.minimum, self.pool.maximum
        return self.options.min_workers, self.options.max_workers

    def saved(self, *, default: bool) -> SavedModel:
        """Return the entry of this version in a snapshot."""
        options = self.options
        minimum, maximum = self.workers_wanted
        return SavedModel(
            name=self.name,
            version=self.version,
            archive=self._archive_name,
            default=default,
            min_workers=minimum,
            max_workers=maximum,
            batch_size=options.batch_size,
            max_batch_delay=options.max_batch_delay,
            response_timeout=options.response_timeout,
            startup_timeout=options.startup_timeout,
            runtime=self.runtime,
            url=None if self.url == self._archive_name else self.url,
            handler=self._chosen_handler,
            downloaded=self.downloaded is not None,
        )

    def _limits(self, timeout: float | None) -> tuple[float | None, float | None]:
        """Return when a request must begin and be answered at the latest, by the scheduler's clock; None: any time."""
        now, most = self.scheduler.now(), math.inf if timeout is None else timeout
        begun, done = min(self._begun_in, most), min(self._done_in, most)
        return now + begun if begun < math.inf else None, now + done if done < math.inf else None

    def _refused(self, error: SchedulerError) -> ServeError:
        if isinstance(error, JobQueueFull):
            return QueueFull(
                f"{self._label} has its job queue full: {error.limit} requests wait (job_queue_size={error.limit})."
                " Send it again later, or give the model more workers or a longer queue.",
                retry_after=self._queue_time(),
            )
        if isinstance(error, (TooManyTokens, GenerationLate)):
            return generation_error(error, self._label, self.options)
        if isinstance(error, JobExpired):
            allowed = round(error.allowed * 1000)
            limit = self._limit_of.get(allowed, "x-request-timeout-ms")
            return RequestExpired(
                f"{self._label} did not come to this request in time: it waited {error.waited * 1000:.0f} ms in the"
                f" queue ({limit}={allowed}){self._loading()}."
            )
        assert isinstance(error, WouldBeLate)
        return NotInTime(
            f"{self._label} would answer this request too late: in about {error.needed * 1000:.0f} ms, of"
            f" {max(0.0, error.left) * 1000:.0f} ms that it has (x-request-timeout-ms, latencySlo,"
            " clientTimeoutInMills, timeToFirstTokenMs). Send it again later, or give the model more workers.",
            retry_after=error.needed - error.left,
        )

    def _loading(self) -> str:
        """Return the end of a sentence on a wait: that an onDemand model is not loaded now."""
        loading = self.on_demand is not None and self.pool.outages.going_on
        return ", while the model was being loaded (onDemand)" if loading else ""

    def _queue_time(self) -> float:
        """Return the estimated seconds in which the queued jobs will have been served."""
        scheduler = self.scheduler
        seconds = scheduler.seconds_per_job * scheduler.queued / max(1, scheduler.runners)
        return min(max(_SOON, seconds), _LONGEST_RETRY)

    def _watch(self) -> None:
        """Have the metrics show what is read off when they are asked for."""
        self.metrics.watch(
            depth=lambda: self.scheduler.queued,
            in_flight=lambda: self.scheduler.running,
            workers=self.pool.in_state,
            memory=self._memory,
        )
        if (cache := self.cache) is not None:
            self.metrics.watch_cache(cache.results, entries=lambda: len(cache), size=lambda: cache.bytes)
            if cache.shared is not None:
                self.metrics.watch_shared_answers(cache.shared.results)
        if self.options.generates:
            self.metrics.watch_engines(
                running=lambda: sum(engine.running for engine in self.engines),
                waiting=lambda: self.scheduler.queued + sum(engine.waiting for engine in self.engines),
                memory=lambda: max((engine.memory for engine in self.engines), default=0.0),
            )

    def _memory(self) -> float:
        """Return the bytes of host memory in use by the workers. The metrics' thread calls this."""
        workers = [slot.worker for slot in list(self.pool.slots)]
        return sum(worker.process.memory for worker in workers if worker is not None)

    def _hopeless(self) -> None:
        self.scheduler.flush(NoWorker(self._no_worker(named_version=False)))

    def _no_worker(self, named_version: bool) -> str:
        shown = f' Version {self.version}"' if named_version else ""
        text = (
            f'Model "{self.name}"{shown} has no worker to serve inference request.'
            " Please use scale workers API to add workers."
        )
        errors = [slot.last_error for slot in self.pool.slots if slot.last_error]
        return f"{text} Its workers were given up; the last error: {errors[-1]}" if errors else text
