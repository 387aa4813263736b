"""The base class of handlers, which loads a model and runs preprocess, inference and postprocess. Imports torch.

The hooks, the attributes and their meaning are TorchServe's, because handlers written for TorchServe subclass it.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from ..config.padded_sizes import padded_sizes
from .classes import list_classes_from_module
from .context import Context
from .labels import load_label_mapping
from .loading.formats import compiled, load_package, load_shared_library
from .loading.onnx import is_session, open_session, run_session
from .loading.pt2 import asks_for_aot, compile_options
from .loading.shared_weights import fill
from .loading.weights import existing, pickles_allowed
from .prediction_exception import PredictionException
from .profiling import archived_name, profiled, profiling
from .speed.accelerate import accelerate
from .speed.copies import Copied
from .speed.frozen import Frozen
from .speed.graphed import Graphed, graph
from .speed.later import may_wait, tune_later
from .speed.num_threads import NumThreads
from .speed.padding import padded, rows_of, trimmed
from .speed.unpadded import Unpadded
from .tensors import are_tensors, run_tensors
from .timer import timed

log = logging.getLogger(__name__)

_NOTHING: Any = MappingProxyType({})  # of no instance, so that none can write into it


class BaseHandler:
    """A handler that subclasses adapt by overriding any of its methods without an underscore."""

    padded_batch_sizes: tuple[int, ...] = ()
    """The sizes of `paddedBatchSizes` in the model's yaml, ascending. Empty if batches are not padded."""
    _num_threads: NumThreads | None = None  # set where the number of threads is adapted at work
    # What `inference` runs in place of the model: one that was measured to be faster, or the yaml's CUDA graphs.
    _faster_model: Frozen | Copied | Unpadded | None = None
    _graphed: Graphed | None = None

    # Many handlers don't call super().__init__(), so what the methods here read must not depend on it. `model` has no
    # default: handlers that load it at the first request ask whether the attribute is there.
    mapping: dict[str, str] | None = None
    device: Any = None
    initialized = False
    context: Any = None
    model_pt_path: str | None = None
    manifest: Any = None
    map_location: str | None = None
    explain = False
    target: Any = 0
    model_yaml_config: dict[str, Any] = _NOTHING
    profiler_args: dict[str, Any] = _NOTHING

    def __init__(self) -> None:
        self.model: Any = None
        self.mapping = None
        self.device = None
        self.initialized = False
        self.context = None
        self.model_pt_path = None
        self.manifest = None
        self.map_location = None
        self.explain = False
        self.target = 0
        self.profiler_args = {}
        self.model_yaml_config = {}

    def initialize(self, context: Context) -> None:
        """Load the model onto its device. Raises RuntimeError if the archive has no weights that this
        method can load.
        """
        properties = context.system_properties
        self.context = context
        self.manifest = context.manifest
        self.model_yaml_config = context.model_yaml_config or {}
        self.padded_batch_sizes = padded_sizes(self.model_yaml_config)
        self.device = pick_device(properties.get("gpu_id"))
        self.map_location = self.device.type
        if self.device.type == "cuda" and torch.cuda.get_device_capability(self.device) >= (8, 0):
            torch.set_float32_matmul_precision("high")
        model_dir = properties["model_dir"]
        described = self.manifest["model"]
        weights, definition = described.get("serializedFile"), described.get("modelFile")
        self.model_pt_path = str(Path(model_dir, weights)) if weights else None
        options = compile_options(self.model_yaml_config.get("pt2"))
        if definition:
            self.model = _ready(self._load_pickled_model(model_dir, definition, self.model_pt_path), self.device)
        else:
            self.model = self._load_by_ending(self.model_pt_path or "")
        if options is not None:
            self.model = compiled(self.model, options, self.device, shapes=len(self.padded_batch_sizes))
        self.mapping = load_label_mapping(str(Path(model_dir, "index_to_name.json")))
        self.initialized = True

    def _load_by_ending(self, path: str) -> Any:
        match Path(path).suffix:
            case ".pt" | ".pth":
                return _ready(self._load_torchscript_model(path), self.device)
            case ".onnx":
                return open_session(existing(path), self.device)
            case ".pt2":
                return load_package(path, self.device)
            case ".so":
                return self._load_torch_export_aot_compile(path)
        raise RuntimeError(
            "No model weights could be loaded: expected a modelFile, or a serializedFile that ends in .pt, .pt2, .onnx"
            f" or .so, in the manifest's model: {self.manifest['model']}"
        )

    def _load_torch_export_aot_compile(self, model_so_path: str) -> Any:
        return load_shared_library(model_so_path, self.device, asked_for=self._use_torch_export_aot_compile())

    def _use_torch_export_aot_compile(self) -> bool:
        return asks_for_aot(self.model_yaml_config.get("pt2"))

    def settle(self, context: Context) -> None:
        """Make the loaded model faster, or leave that to the context's `later`, and note there what was chosen.

        The backend calls this after `initialize` has returned, so that a subclass's `initialize` is done, too.
        """
        config, batch_size = getattr(context, "model_yaml_config", None) or {}, context.system_properties["batch_size"]
        self.padded_batch_sizes = padded_sizes(config)
        if getattr(context, "defers", False) and may_wait(self, config):
            context.later = tune_later(self, config, context)
        else:
            context.notes |= accelerate(self, config, batch_size)
        context.notes |= graph(self, config, batch_size)

    def _load_torchscript_model(self, model_pt_path: str) -> Any:
        return torch.jit.load(existing(model_pt_path), map_location=self.device)

    def _load_pickled_model(self, model_dir: str, model_file: str, model_pt_path: str | None) -> Any:
        """Return an instance of the only model class in `model_file`, with the state dict of `model_pt_path` if there
        is one.

        Raises ValueError if the file defines no model class or several.
        """
        existing(str(Path(model_dir, model_file)))
        module = importlib.import_module(model_file.removesuffix(".py"))
        classes = list_classes_from_module(module, torch.nn.Module)
        if len(classes) != 1:
            names = [cls.__name__ for cls in classes]
            raise ValueError(f"Expected only one class as model definition. {model_file} defines {names}")
        model = classes[0]()
        if model_pt_path is not None:
            unsafe = pickles_allowed(self.model_yaml_config)
            stays = Path(model_dir) if getattr(self.context, "files_stay", False) else None
            shared = fill(model, model_pt_path, self.device, unsafe=unsafe, stays=stays)
            if shared:
                self.context.notes["weights"] = f"{shared / 2**20:.1f} MiB are in memory once for all workers"
        return model

    @timed
    def preprocess(self, data: Any) -> Any:
        """Return the batch as a tensor on the device."""
        return torch.as_tensor(data, device=self.device)

    @timed
    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the model's output for the batch. An ONNX model gets `data` as its inputs, in the model's order.

        With paddedBatchSizes the batch is padded to the next of these sizes and the output is cut to the rows of
        `data`.
        """
        rows = rows_of(data) if self.padded_batch_sizes else 0
        size = self.padded_size(rows)
        # A graph pads by itself, and recognizes a batch of pictures by its tensor's identity: a copy has another.
        if size == rows or self._graphed is not None:
            return self._run_model(data, *args, **kwargs)
        data, args, kwargs = padded((data, args, kwargs), rows, size)
        return trimmed(self._run_model(data, *args, **kwargs), size, rows)

    def padded_size(self, rows: int) -> int:
        """Return the size to which a batch of `rows` is padded: `rows` itself without paddedBatchSizes, and above the
        largest.
        """
        return next((size for size in self.padded_batch_sizes if size >= rows > 0), rows)

    def _run_model(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        if is_session(self.model):
            return run_session(self.model, data)
        with torch.inference_mode():
            if isinstance(data, dict):  # several inputs of a request of the Open Inference Protocol
                return self.model(**{name: tensor.to(self.device) for name, tensor in data.items()}, **kwargs)
            data = data.to(self.device)
            if args or kwargs:
                return self.model(data, *args, **kwargs)
            if self._graphed is not None:
                return self._graphed(self.model, data)
            model = self._faster_model.instead_of(self.model, data) if self._faster_model else self.model
            return self._num_threads.run(model, data) if self._num_threads else model(data)

    @timed
    def postprocess(self, data: Any) -> Any:
        """Return the output as a list with one element for each request."""
        return data.tolist()

    def handle(self, data: Any, context: Context) -> Any:
        """Describe, explain or predict, as the first request's headers say. Emits the metric HandlerTime in
        milliseconds.
        """
        started = time.perf_counter()
        self.context = context
        if self._is_describe():
            output = [self.describe_handle()]
        elif profiling():
            output, _ = self._infer_with_profiler(data)
        else:
            output = self._run(data)
        context.metrics.add_time("HandlerTime", round((time.perf_counter() - started) * 1000.0, 2), None, "ms")
        return output

    def _run(self, data: Any, span: Callable[[str], Any] = nullcontext) -> Any:
        """Run the hooks, each within `span(name of the hook)`."""
        if type(self).preprocess is BaseHandler.preprocess and not self._is_explain() and are_tensors(data):
            return run_tensors(data, self.device, lambda tensors: self._infer(tensors, span))
        with span("preprocess"):
            prepared = self.preprocess(data)
        if self._is_explain():
            with span("explain"):
                return self.explain_handle(prepared, data)
        with span("inference"):
            output = self.inference(prepared)
        with span("postprocess"):
            return self.postprocess(output)

    def _infer(self, tensors: Any, span: Callable[[str], Any]) -> Any:
        """Return the output for tensors of a request of the Open Inference Protocol: a tensor stays one."""
        with span("inference"):
            output = self.inference(tensors)
        if type(self).postprocess is BaseHandler.postprocess:
            return output
        with span("postprocess"):
            return self.postprocess(output)

    def _infer_with_profiler(self, data: Any) -> Any:
        return profiled(self.profiler_args, archived_name(self.context), lambda span: self._run(data, span))

    def explain_handle(self, data_preprocess: Any, raw_data: Any) -> Any:
        """Return the attributions that `get_insights` computes for the class `target` of the first request, 0 by
        default.

        Raises PredictionException (400) if `target` is a text that is no number.
        """
        row = raw_data[0] if isinstance(raw_data[0], dict) else {}
        self.target = _target(row.get("target"))
        return self.get_insights(data_preprocess, row.get("data") or row.get("body"), self.target)

    def get_insights(self, tensor_data: Any, raw_input: Any, target: Any = 0) -> Any:
        """Explain predictions. Subclasses override it; this one raises PredictionException (501)."""
        raise PredictionException(
            f"{type(self).__name__} has no get_insights, so it can't explain its predictions", 501
        )

    def describe_handle(self) -> Any:
        """Return the model's customizedMetadata. Subclasses override it to return a dict."""
        return None

    def get_device(self) -> Any:
        return self.device

    def _is_explain(self) -> bool:
        self.explain = bool(self.context) and self.context.get_request_header(0, "explain") == "True"
        return self.explain

    def _is_describe(self) -> bool:
        return bool(self.context) and self.context.get_request_header(0, "describe") == "True"


def pick_device(gpu_id: int | str | None) -> torch.device:
    """Return the device to compute on.

    It is the worker's GPU if it has one and CUDA, XPU (with TS_IPEX_GPU_ENABLE) or MPS is available; otherwise XLA's
    device if torch_xla is installed; otherwise the CPU.
    """
    if gpu_id is not None:
        if torch.cuda.is_available():
            return torch.device(f"cuda:{gpu_id}")
        if os.environ.get("TS_IPEX_GPU_ENABLE", "false").lower() == "true" and torch.xpu.is_available():
            return torch.device(f"xpu:{gpu_id}")
        if torch.backends.mps.is_available():
            return torch.device("mps")
    if importlib.util.find_spec("torch_xla") is not None:
        return importlib.import_module("torch_xla.core.xla_model").xla_device()
    return torch.device("cpu")


def _ready(model: Any, device: torch.device) -> Any:
    model.to(device)
    model.eval()
    return model


def _target(value: Any) -> Any:
    """Return the class number in `value`. A form sends it as text; JSON may have a list, for example, which is left to
    captum.
    """
    if not value:
        return 0
    if not isinstance(value, str | bytes | bytearray):
        return value
    try:
        return int(value)
    except ValueError:
        shown = value if isinstance(value, str) else value.decode("utf-8", "replace")
        raise PredictionException(f"target must be the number of a class, not {shown!r}", 400) from None
