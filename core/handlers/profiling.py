"""Runs a batch under torch.profiler if ENABLE_TORCH_PROFILER is set. The trace is written where TorchServe
writes it.
"""

from __future__ import annotations

import functools
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import profiler

from ..trusted_file import check_folder

log = logging.getLogger(__name__)

Span = Callable[[str], Any]
PROFILER_AVAILABLE = True  # handlers import it; every supported torch has the profiler

_FOLDER = Path("/tmp/pytorch_profiler")  # noqa: S108  where TorchServe puts it


def profiling() -> bool:
    """Return whether ENABLE_TORCH_PROFILER is set to anything but 0, false, no or off."""
    return os.environ.get("ENABLE_TORCH_PROFILER", "").lower() not in {"", "0", "false", "no", "off"}


def archived_name(context: Any) -> str:
    """Return the name that the archive was packed under, after which TorchServe names the folder of a model's traces.

    A model may be registered under another name; that one is returned only if the manifest has none.
    """
    manifest = getattr(context, "manifest", None) or {}
    return str((manifest.get("model") or {}).get("modelName") or getattr(context, "model_name", ""))


@functools.cache
def trace_folder(model: str) -> Path:
    """Return the folder for a model's traces. Raises OSError if it can't be made.

    TorchServe's folder is in the temporary folder, which all users may write to: another user could put symbolic links
    there, and the profiler would write through them.
    """
    folder = _FOLDER / model
    try:
        for each in (_FOLDER, folder):
            each.mkdir(exist_ok=True)
            check_folder(each)
        if os.access(folder, os.W_OK):
            return folder
        cause = "it can't be written"
    except OSError as error:
        cause = str(error)
    own = Path(tempfile.mkdtemp(prefix="torchserve-profiler-"))
    log.warning("Traces of model %s go to %s, not to %s: %s", model, own, folder, cause)
    return own


def profiled(arguments: dict[str, Any], model: str, run: Callable[[Span], Any]) -> tuple[Any, Any]:
    """Return the result of `run` and the profile. `run` is called with a function that names a span of the trace.

    `arguments` are the handler's arguments for torch.profiler.profile. By default the CPU, the available device and
    shapes are recorded. Without `on_trace_ready` the trace is written for Chrome and TensorBoard as
    /tmp/pytorch_profiler/<model>/….pt.trace.json, or to a folder of its own if another user owns that one. It is there
    before the batch is answered. The ten most expensive operators are logged.
    """
    chosen = dict(arguments) or {"activities": list(profiler.supported_activities()), "record_shapes": True}
    if "on_trace_ready" not in chosen:
        folder = str(trace_folder(model))
        chosen["on_trace_ready"] = profiler.tensorboard_trace_handler(folder)
        log.info("Saving chrome trace to : %s", folder)
    with profiler.profile(**chosen) as profile:
        output = run(profiler.record_function)
    log.info("%s", profile.key_averages().table(sort_by="cpu_time_total", row_limit=10))
    return output, profile
