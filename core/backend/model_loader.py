"""ModelLoader: loads a handler in the process of a script or test, without a server. The names are TorchServe's."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from ..handlers.context import Context, RequestProcessor
from ..handlers.metrics.emitter import MetricsEmitter
from ..version import __version__
from .envelopes import enveloped
from .loader import EntryPoint, add_model_path, load_entry_point
from .model_files import read_manifest, read_yaml_config

_Rows = tuple[list[dict[str, Any]], list[dict[str, Any]], dict[int, str]]


class Service:
    """A model's handler and its context."""

    def __init__(
        self,
        model_name: str,
        model_dir: str,
        manifest: Mapping[str, Any] | None,
        entry_point: EntryPoint | None,
        gpu: int | None,
        batch_size: int | None,
        limit_max_image_pixels: bool = True,
        metrics_cache: MetricsEmitter | None = None,
    ) -> None:
        described = dict(manifest) if manifest is not None else read_manifest(model_dir)
        self._context = Context(
            model_name, model_dir, described, batch_size or 1, gpu, __version__,
            limit_max_image_pixels, metrics_cache, read_yaml_config(model_dir, described),
        )  # fmt: skip
        self._entry_point = entry_point

    @property
    def context(self) -> Context:
        """The handler's context."""
        return self._context

    @staticmethod
    def retrieve_data_for_inference(batch: Sequence[Mapping[str, Any]]) -> _Rows:
        """Return the headers, the handler's input, and the ids by index, of requests as TorchServe's front sends them.

        A request has `requestId` (bytes), `headers` and `parameters`: lists of mappings with `name` and `value`. Raises
        ValueError for an empty batch.
        """
        if not batch:
            raise ValueError("Received invalid inputs: the batch is empty")
        headers = [{each["name"]: each["value"] for each in request.get("headers", ())} for request in batch]
        rows = [{each["name"]: each["value"] for each in request["parameters"]} for request in batch]
        return headers, rows, {index: request["requestId"].decode() for index, request in enumerate(batch)}

    def predict(self, batch: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Run the handler on requests as `retrieve_data_for_inference` takes them; return its answers.

        TorchServe returns bytes for its front end here. Raises whatever the handler raises.
        """
        headers, rows, ids = self.retrieve_data_for_inference(batch)
        if self._entry_point is None:
            raise ValueError(f"model {self._context.model_name} has no entry point")
        self._context.request_ids = ids
        self._context.request_processor = [RequestProcessor(each) for each in headers]
        self._context.metrics.set_request_ids(ids)
        return self._entry_point(rows, self._context)


class ModelLoader:
    """A loader of models for scripts and tests; the server has its own."""

    def load(
        self,
        model_name: str,
        model_dir: str,
        handler: str | None = None,
        gpu_id: int | None = None,
        batch_size: int | None = None,
        envelope: str | None = None,
        limit_max_image_pixels: bool = True,
        metrics_cache: MetricsEmitter | None = None,
    ) -> Service:
        """Load the model in the folder `model_dir` and initialise its handler, the manifest's if None is given.

        The folder is added to sys.path. Raises ValueError if there is no handler, and whatever the handler raises.
        """
        service = Service(
            model_name, model_dir, None, None, gpu_id, batch_size, limit_max_image_pixels,
            metrics_cache or MetricsEmitter(model_name),
        )  # fmt: skip
        handler = handler or service.context.manifest.get("model", {}).get("handler")
        if not handler:
            raise ValueError(f"No handler is provided for model {model_name}")
        with contextlib.chdir(model_dir):
            add_model_path(model_dir, handler)
            entry = load_entry_point(handler, service.context)
        service._entry_point = enveloped(envelope, entry) if envelope else entry  # noqa: SLF001
        return service


class ModelLoaderFactory:
    """A namespace from which scripts get a loader."""

    @staticmethod
    def get_model_loader() -> ModelLoader:
        """Return a new loader."""
        return ModelLoader()
