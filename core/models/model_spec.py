"""ModelSpec: describes one version of a model; what its scheduler and its workers are told is made from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b

from ...scheduler.policy import BatchPolicy, SequencePolicy, SharePolicy
from ...scheduler.tokens import TokenPolicy
from ..archive.handler_source import ENGINES, built_in_name
from ..archive.packages import ModelPython
from ..archive.reader import Archive
from ..archive.store import Located
from ..config.client_limits import ClientLimits
from ..config.model_options import ModelOptions
from ..config.settings import Settings
from ..gpus.gpu_allocator import GpuAllocator
from ..metrics.store import MetricStore
from ..payload_log.writer import PayloadWriter
from ..version import __version__
from ..wire.messages import Load
from ..workers.async_slot import MOST_RUNS
from ..workers.call_plane import CallPlane
from ..workers.fork_server import ForkServer
from ..workers.remote.remote_workers import RemoteWorkers
from .answer_store import AnswerStore
from .sequence import SequenceKeys
from .shared_answers import SharedAnswers
from .worker_ids import WorkerIds


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A description of one version of a model: what is served under which name, how, and where it is from.

    `chosen_handler` is the one that the registration named, None if `handler` is the archive's or the settings'.
    `content` is a hash of what was unpacked, if other servers may share what it answers.
    `aliases` are names by which OpenAI's clients may ask for it, too. `workflow` is the one whose node it is, "" if it
    is none's; one that is `inner` is followed by others.
    """

    name: str
    version: str
    located: Located
    archive: Archive
    handler: str
    runtime: str
    options: ModelOptions
    python: ModelPython = ModelPython()
    chosen_handler: str | None = None
    at_startup: bool = False
    aliases: tuple[str, ...] = ()
    workflow: str = ""
    inner: bool = False
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class SharedParts:
    """The parts of a server that all of its models share. With `remote`, workers run on other hosts; with
    `fork_server`, those that need torch are forked. `calls` takes what handlers ask of other models, `payloads` what is
    sampled of requests and answers. `store` is where servers share the answers that they keep.
    """

    settings: Settings
    gpu_allocator: GpuAllocator
    worker_ids: WorkerIds
    metrics: MetricStore
    remote: RemoteWorkers | None = None
    fork_server: ForkServer | None = None
    calls: CallPlane | None = None
    store: AnswerStore | None = None
    payloads: PayloadWriter | None = None


def share_policy(limits: ClientLimits | None) -> SharePolicy | None:
    """Return the weights by which clients take turns, None if nothing has one."""
    if limits is None or not limits.weighs:
        return None
    listed = {client: limit.weight or 1.0 for client, limit in limits.listed.items()}
    return SharePolicy(listed, limits.default.weight or 1.0, limits.others.weight)


def batch_policy(options: ModelOptions, shares: SharePolicy | None = None) -> BatchPolicy:
    """Return the options that a version's scheduler goes by; its times are in seconds. Clients have these `shares`."""
    sequences = None
    if state := options.stateful:
        sequences = SequencePolicy(state.most, state.queue_size, state.idle / 1000.0, state.life / 1000.0)
    tokens = None
    if options.generates:
        first, each = options.first_token / 1000.0, options.per_token / 1000.0
        tokens = TokenPolicy(first or math.inf, each or math.inf, MOST_RUNS)
    return BatchPolicy(
        batch_size=1 if options.asynchronous else options.batch_size,
        max_batch_delay=options.max_batch_delay / 1000.0,
        queue_size=options.job_queue_size,
        rule=options.batch_policy,
        padded_sizes=options.padded_batch_sizes,
        continuous=options.continuous,
        sequences=sequences,
        tokens=tokens,
        shares=shares,
        length_classes=len(options.length_buckets) + 1,
    )


def shared_answers(spec: ModelSpec, parts: SharedParts) -> SharedAnswers | None:
    """Return the answers of this version that servers share, None if they share none."""
    if parts.store is None or not spec.content:
        return None
    settings, digest = parts.settings, blake2b(spec.content, digest_size=32)
    for text in (__version__, spec.name, spec.version, spec.handler, settings.service_envelope or ""):
        digest.update(hashed := text.encode("utf-8", "surrogatepass"))
        digest.update(len(hashed).to_bytes(8, "big"))
    return SharedAnswers(parts.store, digest.digest())


def load_message(spec: ModelSpec, parts: SharedParts) -> Load:
    """Return the message by which every worker loads this version."""
    options, settings = spec.options, parts.settings
    as_it_came = built_in_name(spec.handler) in ENGINES
    return Load(
        model_name=spec.name,
        model_version=spec.version,
        model_dir=str(spec.archive.model_dir),
        handler=spec.handler,
        batch_size=options.batch_size,
        envelope=None if as_it_came else settings.service_envelope,
        limit_max_image_pixels=settings.limit_max_image_pixels,
        decode_input_request=settings.decode_input_request and not as_it_came,
        max_response_size=settings.max_response_size,
        metrics=parts.metrics.declared,
        errors_in_response=settings.handler_errors_in_response,
        isolate_within=options.response_timeout / 2 if options.isolate_errors else 0.0,
        literal_non_finite=settings.json_non_finite == "literal",
        asynchronous=options.asynchronous,
        continuous=options.continuous,
        environment=SequenceKeys.of(settings).environment if options.stateful else {},
        signature=options.signature,
        times_hooks=options.slow_request > 0,
        files_stay=spec.archive.unpacked is not None,
    )
