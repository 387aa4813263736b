"""on_one_thread on a pretended GPU: whoever calls a compiled model, one thread runs it, as the caller would have."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from torchserve.kernels.one_thread import on_one_thread

from .simulated import gpu
from .test_pipeline import CUDA


def test_one_thread_runs_what_many_call(monkeypatch: pytest.MonkeyPatch) -> None:
    with gpu(monkeypatch), ThreadPoolExecutor(3) as callers:
        subject = on_one_thread(lambda number: (threading.get_ident(), number), CUDA)
        found = [subject(-1), *callers.map(subject, range(20))]
    assert len({thread for thread, _ in found}) == 1
    assert found[0][0] != threading.get_ident()
    assert [number for _, number in found] == list(range(-1, 20))


def test_it_runs_on_the_caller_s_stream_and_in_its_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    def modes() -> tuple[Any, ...]:
        return torch.cuda.current_stream(CUDA), torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    with gpu(monkeypatch) as device:
        subject, stream = on_one_thread(modes, CUDA), torch.cuda.Stream(CUDA)
        assert subject() == (device.main, False, True)
        with torch.cuda.stream(stream), torch.no_grad():
            assert subject() == (stream, False, False)
        with torch.inference_mode():
            assert subject() == (device.main, True, False)


def test_what_it_raises_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    with gpu(monkeypatch), pytest.raises(ZeroDivisionError):
        on_one_thread(lambda: 1 / 0, CUDA)()


def test_elsewhere_the_caller_runs_it() -> None:
    assert on_one_thread(threading.get_ident, torch.device("cpu")) is threading.get_ident
