"""on_one_thread: a function that the same thread always runs, whoever calls it. Imports torch.

What torch.compile records as CUDA graphs belongs to the thread that it was made in: no other one can use it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch


def on_one_thread(work: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """`work` in a thread of its own, in its caller's modes and stream; `work` itself where there are no graphs."""
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
    """What a thread has to itself, and a model's answer depends on."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.current_stream(device)
        self._device = device
        self._inference = torch.is_inference_mode_enabled()
        self._gradients = torch.is_grad_enabled()
        self._cast = torch.is_autocast_enabled("cuda")
        self._type = torch.get_autocast_dtype("cuda")

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        with (
            torch.cuda.device(self._device),
            torch.cuda.stream(self._stream),
            torch.inference_mode(self._inference),
            torch.set_grad_enabled(self._gradients),
            torch.autocast("cuda", self._type, self._cast),
        ):
            yield
