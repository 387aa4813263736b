"""profiled: one batch under torch.profiler, as ENABLE_TORCH_PROFILER asks; the trace goes where TorchServe puts it."""

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
PROFILER_AVAILABLE = True  # in every torch that this runs with; handlers import it

_FOLDER = Path("/tmp/pytorch_profiler")  # noqa: S108  where TorchServe puts it


def profiling() -> bool:
    """Return whether ENABLE_TORCH_PROFILER is set, to anything but a no."""
    return os.environ.get("ENABLE_TORCH_PROFILER", "").lower() not in {"", "0", "false", "no", "off"}


@functools.cache
def trace_folder(model: str) -> Path:
    """Return the folder for a model's traces. Raises OSError if there can't be one.

    TorchServe's place is in the temp folder, which is everybody's: another user could lay links there, and the profiler
    would write through them.
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
    """Return what `run` returns, and the profile. `run` gets what names a stretch of the trace; `arguments` are
    torch.profiler.profile's, the handler's own choice.

    Without any, CPU, the device there is, and shapes are recorded; without `on_trace_ready` the trace is written for
    Chrome and TensorBoard as /tmp/pytorch_profiler/<model>/….pt.trace.json, or in a folder of its own where that is
    another user's. The ten costliest operators are logged.
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
