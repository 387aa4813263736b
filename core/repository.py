"""Repository: the models as the Open Inference Protocol shows them: metadata, configuration, statistics, index.

The objects have the keys of the protocol's REST half; its gRPC half has messages with the same fields.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from .archive.store import stored
from .config.settings import Settings
from .metrics.tally import BatchTally, Tally
from .models.model import Model
from .models.registry import Registry
from .oip.signature import Signature, TensorSpec
from .registration import RegisterRequest

_TRITON_TYPES = {"BYTES": "TYPE_STRING"}


class Repository:
    """The registered models, as front doors of the Open Inference Protocol read and change them.

    `register` and `unregister` are the control plane's.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        register: Callable[[RegisterRequest], Awaitable[object]],
        unregister: Callable[[str, str | None], Awaitable[object]],
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._register = register
        self._unregister = unregister

    def metadata(self, name: str, version: str | None = None) -> dict[str, Any]:
        """Return what a version says of its tensors. Raises ModelNotFound, VersionNotFound."""
        return metadata_of(self._registry.get(name, version), self._registry.versions(name))

    def configuration(self, name: str, version: str | None = None) -> dict[str, Any]:
        """Return how a version is run, under Triton's keys. Raises ModelNotFound, VersionNotFound."""
        return configuration_of(self._registry.get(name, version))

    def statistics(self, name: str = "", version: str | None = None) -> list[dict[str, Any]]:
        """Return the statistics of one version, of all of a model, or of all. Raises ModelNotFound, VersionNotFound."""
        if name:
            models = [self._registry.get(name, version)] if version is not None else self._registry.versions(name)
            return [statistics_of(model) for model in models]
        return [statistics_of(model) for model in self._registry]

    def index(self, *, ready: bool = False) -> list[dict[str, Any]]:
        """Return an entry for each version; with `ready` only for those that are."""
        models = sorted(self._registry, key=lambda model: (model.name, model.version))
        return [index_entry(model, ready=model.ready) for model in models if model.ready or not ready]

    async def load(self, name: str) -> None:
        """Register the archive of the model store that is called `name`, unless a model of that name is registered.

        Raises ArchiveNotFound, and as `register` does.
        """
        if name in {model.name for model in self._registry}:
            return
        url = await asyncio.to_thread(stored, name, self._settings.model_store)
        workers = max(1, self._settings.default_workers_per_model)
        await self._register(RegisterRequest(url=url, model_name=name, initial_workers=workers))

    async def unload(self, name: str) -> None:
        """Remove all versions of a model, the default one last. Raises ModelNotFound."""
        default = self._registry.get(name).version
        for model in sorted(self._registry.versions(name), key=lambda each: each.version == default):
            await self._unregister(name, model.version)


def metadata_of(model: Model, versions: Sequence[Model]) -> dict[str, Any]:
    """Return the metadata of a version. What is not known of a tensor is left out, and a model may tell of none."""
    signature = model.signature or Signature()
    return {
        "name": model.name,
        "versions": [each.version for each in versions],
        "platform": _platform(model),
        "inputs": [_tensor(spec) for spec in signature.inputs],
        "outputs": [_tensor(spec) for spec in signature.outputs],
    }


def configuration_of(model: Model) -> dict[str, Any]:
    """Return the configuration of a version, under the keys of Triton's model configuration."""
    signature, options = model.signature or Signature(), model.options
    minimum, _ = model.workers_wanted
    on_gpu = any(slot.gpus for slot in model.pool.slots)
    found: dict[str, Any] = {
        "name": model.name,
        "platform": _platform(model),
        "backend": "torchserve",
        "version_policy": {"all": {}},
        "max_batch_size": options.batch_size if signature.batch_dimension else 0,
        # Triton's own clients read the format of each input.
        "input": [_entry(spec, signature) | {"format": "FORMAT_NONE"} for spec in signature.inputs],
        "output": [_entry(spec, signature) for spec in signature.outputs],
        "instance_group": [{"name": model.name, "count": minimum, "kind": "KIND_GPU" if on_gpu else "KIND_CPU"}],
    }
    if signature.batch_dimension:
        found["dynamic_batching"] = {"max_queue_delay_microseconds": options.max_batch_delay * 1000}
    if options.stateful:
        found["sequence_batching"] = {"max_sequence_idle_microseconds": options.stateful.idle * 1000}
    return found


def statistics_of(model: Model) -> dict[str, Any]:
    """Return the statistics of a version since it was registered."""
    tally: Tally = model.metrics.tally
    return {
        "name": model.name,
        "version": model.version,
        "last_inference": round(tally.last * 1e3),
        "inference_count": tally.succeeded,
        "execution_count": tally.batches,
        "inference_stats": {
            "success": _sum(tally.succeeded, tally.took),
            "fail": _sum(tally.failed, 0.0),
            "queue": _sum(tally.succeeded, tally.queued),
            **_computed(tally),
            "cache_hit": _sum(0, 0.0),
            "cache_miss": _sum(0, 0.0),
        },
        "batch_stats": [{"batch_size": size, **_computed(alike)} for size, alike in sorted(tally.sizes.items())],
    }


def index_entry(model: Model, *, ready: bool) -> dict[str, Any]:
    """Return the entry of a version in the index of the repository."""
    return {
        "name": model.name,
        "version": model.version,
        "state": "READY" if ready else "UNAVAILABLE",
        "reason": "" if ready else model.lacking or "It has no worker.",
    }


def _platform(model: Model) -> str:
    weights = model.archive.manifest.serialized_file or ""
    return "onnxruntime_onnx" if weights.endswith(".onnx") else "pytorch"


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    found: dict[str, Any] = {"name": spec.name}
    if spec.datatype:
        found["datatype"] = spec.datatype
    if spec.shape is not None:
        found["shape"] = list(spec.shape)
    return found


def _entry(spec: TensorSpec, signature: Signature) -> dict[str, Any]:
    found: dict[str, Any] = {"name": spec.name}
    if spec.datatype:
        found["data_type"] = _TRITON_TYPES.get(spec.datatype, f"TYPE_{spec.datatype}")
    if spec.shape is not None:
        found["dims"] = list(spec.shape[signature.batch_dimension :])
    return found


def _computed(tally: Tally | BatchTally) -> dict[str, dict[str, int]]:
    """Return the times of batches in Triton's parts. What the worker takes around the handler is all input."""
    return {
        "compute_input": _sum(tally.batches, max(0.0, tally.worked - tally.handling)),
        "compute_infer": _sum(tally.batches, tally.handling),
        "compute_output": _sum(tally.batches, 0.0),
    }


def _sum(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": round(seconds * 1e9)}
