"""on_one_thread: a function that always runs in the same thread, whichever thread calls it. Imports torch.

CUDA graphs that torch.compile records can be used only by the thread in which they were made.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch


def on_one_thread(work: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """Return `work` confined to a thread, in its caller's modes and stream; for a CPU, which has no graphs, `work`."""
    if device.type != "cuda":
        return work
    thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    @functools.wraps(work)
    def confined(*arguments: Any, **options: Any) -> Any:
        modes = _Modes(device)

        def run() -> Any:
            with modes.entered():
                return work(*arguments, **options)

        return thread.submit(run).result()

    return confined


class _Modes:
    """The state that each thread has of its own and that a model's answer depends on: stream and torch's modes."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.current_stream(device)
        self._device = device
        self._inference = torch.is_inference_mode_enabled()
        self._gradients = torch.is_grad_enabled()
        self._cast = torch.is_autocast_enabled("cuda")
        self._type = torch.get_autocast_dtype("cuda")

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Have the current thread run in this state."""
        with (
            torch.cuda.device(self._device),
            torch.cuda.stream(self._stream),
            torch.inference_mode(self._inference),
            torch.set_grad_enabled(self._gradients),
            torch.autocast("cuda", self._type, self._cast),
        ):
            yield
