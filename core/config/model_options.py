"""ModelOptions: how a model version is batched, timed and placed, from its model-config.yaml and its registration."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import BadRequest
from ..oip.signature import Signature
from .byte_size import read_size
from .cache_options import CacheOptions, read_cache
from .configured_models import ConfiguredModel
from .length_buckets import read_length_buckets
from .padded_sizes import read_padded_sizes, within_padding
from .parallel import Parallel, read_parallel
from .payload_options import PayloadOptions, read_payload_log
from .settings import Settings
from .speed_options import check_speed
from .tensor_specs import read_signature

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stateful:
    """The limits of sequences: `most` at a time, `queue_size` requests waiting in each.

    A sequence ends after `idle` ms without a request, and after `life` ms in all; 0 is no limit.
    """

    most: int = 1
    queue_size: int = 1
    idle: int = 0
    life: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """The options of one model version.

    Units are TorchServe's own, as its API shows them: batch delay, client timeout, latency SLO and the times of tokens
    in ms, other timeouts in s. GPU memory is in bytes. `most_sequences` is what one request for text may ask for.
    """

    min_workers: int = 0
    max_workers: int = 0
    batch_size: int = 1
    max_batch_delay: int = 100
    response_timeout: int = 120
    startup_timeout: int = 120
    warm_up_timeout: int = 600
    max_retry_timeout: int = 300
    client_timeout: int = 0
    latency_slo: int = 0
    slow_request: int = 0
    job_queue_size: int = 100
    batch_policy: str = "adaptive"
    padded_batch_sizes: tuple[int, ...] = ()
    length_buckets: tuple[int, ...] = ()
    device_type: str = ""
    device_ids: tuple[int, ...] | None = None
    parallel: Parallel | None = None
    threads: int | None = None
    asynchronous: bool = False
    generates: bool = False
    first_token: int = 0
    per_token: int = 0
    most_sequences: int = 16
    isolate_errors: bool = False
    idempotent: bool = False
    use_venv: bool = False
    job_ticket: bool = False
    continuous: bool = False
    stateful: Stateful | None = None
    gpu_memory: int | None = None
    when_no_gpu_memory: str = "refuse"
    autoscale: bool = True
    scale_down_after: int = 120
    on_demand: bool = False
    warm_spare: bool = False
    residency: int = 10
    signature: Signature | None = None
    cache: CacheOptions | None = None
    payload_log: PayloadOptions = PayloadOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """The options that a registration gives; None leaves one to the archive and the settings."""

    batch_size: int | None = None
    max_batch_delay: int | None = None
    initial_workers: int | None = None
    response_timeout: int | None = None
    startup_timeout: int | None = None


# model-config.yaml key -> field, and the smallest legal value
_WHOLE_KEYS = {
    "minWorkers": ("min_workers", 1),
    "maxWorkers": ("max_workers", 1),
    "batchSize": ("batch_size", 1),
    "maxBatchDelay": ("max_batch_delay", 0),
    "responseTimeout": ("response_timeout", 1),
    "startupTimeout": ("startup_timeout", 1),
    "warmUpTimeout": ("warm_up_timeout", 1),
    "maxRetryTimeoutInSec": ("max_retry_timeout", 1),
    "clientTimeoutInMills": ("client_timeout", 0),
    "latencySlo": ("latency_slo", 0),
    "slowRequestMs": ("slow_request", 0),
    "timeToFirstTokenMs": ("first_token", 0),
    "timePerTokenMs": ("per_token", 0),
    "jobQueueSize": ("job_queue_size", 1),
    "scaleDownAfter": ("scale_down_after", 1),
    "minResidency": ("residency", 0),
    "threads": ("threads", 1),
}
_MOST = {"threads": 4096}  # others: 2^31 - 1, and for workers max_workers_per_model
POLICIES = ("adaptive", "eager", "fixed")
# The same for stateful models.
_SEQUENCE_KEYS = {
    "maxNumSequence": ("most", 1),
    "maxSequenceJobQueueSize": ("queue_size", 1),
    "sequenceMaxIdleMSec": ("idle", 0),
    "sequenceTimeoutMSec": ("life", 0),
}


def resolve_options(
    config: Mapping[str, Any], asked: Requested, settings: Settings, configured: ConfiguredModel | None = None
) -> ModelOptions:
    """Merge the archive's model-config.yaml, the registration, the key `models` and the settings.

    The first of these wins. Batch size and delay: registration, yaml, `models`. Timeouts: yaml, registration, `models`.
    Workers: yaml if it has both minWorkers and maxWorkers, `models` (for what is loaded at start), registration. A yaml
    value of the wrong type is logged and not used. Raises BadRequest for more workers than max_workers_per_model.
    """
    plain, said = ModelOptions(), configured or ConfiguredModel()
    from_yaml = _read_yaml(config)
    minimum, maximum = from_yaml.pop("min_workers", 0), from_yaml.pop("max_workers", 0)
    if 0 < minimum <= maximum:
        check_workers(settings, ("model-config.yaml: minWorkers", minimum), ("model-config.yaml: maxWorkers", maximum))
    else:
        initial = max(0, asked.initial_workers or 0)
        check_workers(
            settings,
            ("initial_workers", initial),
            ("models: minWorkers", said.min_workers),
            ("models: maxWorkers", said.max_workers),
        )
        minimum = said.min_workers or initial
        maximum = max(minimum, said.max_workers or initial)
    base = ModelOptions(
        min_workers=minimum,
        max_workers=maximum,
        batch_size=said.batch_size or plain.batch_size,
        max_batch_delay=said.max_batch_delay or plain.max_batch_delay,
        response_timeout=_at_least(
            1, asked.response_timeout, said.response_timeout or settings.default_response_timeout
        ),
        startup_timeout=_at_least(0, asked.startup_timeout, said.startup_timeout or settings.default_startup_timeout),
        job_queue_size=settings.job_queue_size,
    )
    merged = replace(base, **from_yaml)
    batch_size = _at_least(1, asked.batch_size, merged.batch_size)
    return replace(
        merged,
        batch_size=within_padding(batch_size, merged.padded_batch_sizes),
        max_batch_delay=_at_least(0, asked.max_batch_delay, merged.max_batch_delay),
    )


def check_workers(settings: Settings, *asked: tuple[str, int | None]) -> None:
    """Raise BadRequest, naming the key, if a number of workers is above max_workers_per_model."""
    for key, count in asked:
        if count is not None and count > settings.most_workers:
            raise BadRequest(
                f"{key} must be from 0 to {settings.most_workers} (max_workers_per_model), not {count}."
                " Ask for fewer, or set max_workers_per_model in config.properties."
            )


def _at_least(low: int, value: int | None, default: int) -> int:
    """Return `value`, or the default if it is None or below `low`."""
    return default if value is None or value < low else value


def _read_yaml(config: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, (name, low) in _WHOLE_KEYS.items():
        if key not in config:
            continue
        value = config[key]
        most = _MOST.get(key) or 2**31 - 1
        if isinstance(value, int) and not isinstance(value, bool) and value <= most:
            found[name] = max(low, value)
        else:
            log.warning(
                "model-config.yaml: %s must be a whole number from %d to %d, not %s; the default is used",
                *(key, low, most, repr(value)[:80]),
            )
    found |= _read_devices(config)
    found |= _read_choice(config, "batchPolicy", "batch_policy", POLICIES)
    found["padded_batch_sizes"] = read_padded_sizes(config)
    found["signature"] = read_signature(config)
    found["parallel"] = parallel = read_parallel(config)
    found["asynchronous"] = _read_asynchronous(config, ranks=parallel.ranks if parallel else 0)
    if _read_switch(config, "generatesText") and found["parallel"] is None:
        found["generates"] = found["asynchronous"] = True
    if (most := _most_sequences(config)) is not None:
        found["most_sequences"] = most
    found["isolate_errors"] = _read_switch(config, "isolateErrors")
    found["idempotent"] = _read_switch(config, "idempotent")
    found["use_venv"] = _read_switch(config, "useVenv")
    found["job_ticket"] = _read_switch(config, "useJobTicket")
    found["on_demand"] = _read_switch(config, "onDemand")
    found["warm_spare"] = _read_switch(config, "warmSpare")
    found["autoscale"] = _read_switch(config, "autoscale", default=True)
    found["continuous"] = _read_switch(config, "continuousBatching")
    if _read_switch(config, "sequenceBatching"):
        found["stateful"] = _read_stateful(config)
        # A worker that was scaled away would take the state of its sequences along.
        found["autoscale"] = found["warm_spare"] = False
        if found["on_demand"]:
            log.warning("model-config.yaml: onDemand is ignored with sequenceBatching")
            found["on_demand"] = False
    if found["asynchronous"] and (found["continuous"] or found.get("stateful")):
        log.warning("model-config.yaml: asyncCommunication is ignored, as each step of a batch follows the one before")
        found["asynchronous"] = found["generates"] = False
    found["length_buckets"] = _read_length_buckets(config, found)
    found["cache"] = read_cache(config)
    found["payload_log"] = read_payload_log(config)
    check_speed(config)
    if found["cache"] and (found["continuous"] or found.get("stateful")):
        log.warning("model-config.yaml: cache is ignored, as each step of a batch follows the one before")
        found["cache"] = None
    if found["isolate_errors"] and (why := _never_repeated(found)):
        log.warning("model-config.yaml: isolateErrors is ignored, as %s", why)
        found["isolate_errors"] = False
    if found["idempotent"] and (found["continuous"] or found.get("stateful") or found.get("generates")):
        log.warning("model-config.yaml: idempotent is ignored, as a request of this model is more than one step")
        found["idempotent"] = False
    return found


def _never_repeated(found: Mapping[str, Any]) -> str:
    """Return why a batch of this model is never run again, request by request; "" if it may be."""
    if found["parallel"] and found["parallel"].ranks:
        return "torchrun's ranks run a batch together"
    if found["continuous"] or found.get("stateful"):
        return "each step of a batch follows the one before"
    return "each request of an asynchronous handler is a batch of its own" if found["asynchronous"] else ""


def _read_length_buckets(config: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the model's length buckets, () where its batches are never formed by length."""
    why = ""
    if found["continuous"] or found.get("stateful"):
        why = "each step of a batch follows the one before"
    elif found["asynchronous"]:
        why = "each request of an asynchronous handler is a batch of its own"
    elif found.get("batch_policy", "adaptive") != "adaptive":
        why = "only the batchPolicy adaptive learns what batches take"
    buckets = read_length_buckets(config)
    if buckets and why:
        log.warning("model-config.yaml: lengthBuckets is ignored, as %s", why)
    return () if why else buckets


def _read_stateful(config: Mapping[str, Any]) -> Stateful:
    found: dict[str, int] = {}
    for key, (name, low) in _SEQUENCE_KEYS.items():
        value = config.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value < 2**31:
            found[name] = value
        elif value is not None:
            log.warning(
                "model-config.yaml: %s must be a whole number from %d to %d, not %r; it is ignored",
                *(key, low, 2**31 - 1, value),
            )
    return Stateful(**found)


def _read_asynchronous(config: Mapping[str, Any], ranks: int) -> bool:
    said = config.get("asyncCommunication", False)
    if not isinstance(said, bool):
        log.warning("model-config.yaml: asyncCommunication must be true or false, not %r; false is used", said)
        return False
    if said and ranks:
        log.warning("model-config.yaml: asyncCommunication is ignored, as torchrun's ranks take one batch at a time")
        return False
    return said


def _most_sequences(config: Mapping[str, Any]) -> int | None:
    """Return the handler's option max_sequences, None unless it is a number that the handler takes."""
    said = config.get("handler")
    most = said.get("max_sequences") if isinstance(said, Mapping) else None
    return most if type(most) is int and 1 <= most <= 1024 else None


def _read_switch(config: Mapping[str, Any], key: str, *, default: bool = False) -> bool:
    value = config.get(key, default)
    if isinstance(value, bool):
        return value
    text = str(default).lower()
    log.warning("model-config.yaml: %s must be true or false, not %r; %s is used", key, value, text)
    return default


def _read_devices(config: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    kind = config.get("deviceType")
    if isinstance(kind, str) and kind in {"cpu", "gpu"}:
        found["device_type"] = kind
    elif kind is not None:
        log.warning("model-config.yaml: deviceType must be cpu or gpu, not %r; the default is used", kind)
    found |= _read_gpu_memory(config)
    ids = config.get("deviceIds")
    if ids is None:
        return found
    if isinstance(ids, list) and ids and all(isinstance(each, int) and not isinstance(each, bool) for each in ids):
        found["device_ids"] = tuple(ids)
    else:
        log.warning("model-config.yaml: deviceIds must be a list of whole numbers, not %r; all GPUs are used", ids)
    return found


def _read_gpu_memory(config: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    memory = config.get("gpuMemory")
    if memory is not None:
        size = read_size(memory, unit=1 << 20)
        if size is None:
            log.warning("model-config.yaml: gpuMemory must be MiB, or like 6 GiB, not %r; it is measured", memory)
        else:
            found["gpu_memory"] = size
    return found | _read_choice(config, "whenNoGpuMemory", "when_no_gpu_memory", ("refuse", "wait", "cpu"))


def _read_choice(config: Mapping[str, Any], key: str, name: str, legal: Sequence[str]) -> dict[str, Any]:
    """Return {name: value} if the yaml's value is among the legal ones, the first of which is the default."""
    value = config.get(key)
    if value in legal:
        return {name: value}
    if value is not None:
        *most, last = legal
        log.warning(
            "model-config.yaml: %s must be %s or %s, not %r; %s is used", key, ", ".join(most), last, value, legal[0]
        )
    return {}
