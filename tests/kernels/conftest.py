"""Tests marked `gpu` run where a CUDA device works and are skipped, with the reason, where none does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from .interpreter import Interpreter


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a real CUDA device, and PyTorch finds none here")


@pytest.fixture(scope="session")
def interpreter() -> Iterator[Interpreter]:
    """Runs kernels in Triton's interpreter, in a process of its own."""
    with Interpreter() as interpreter:
        yield interpreter
