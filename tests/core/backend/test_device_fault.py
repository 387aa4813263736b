"""Which exceptions mean that the device context is dead. The exceptions are torch's own; there need be no GPU."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from torchserve.core.backend.device_fault import _FATAL, device_fault
from torchserve.core.handlers.prediction_exception import PredictionException


def accelerator_error(code: int | None, text: str = "CUDA error: device-side assert triggered") -> Exception:
    error = torch.AcceleratorError(text)
    if code is not None:
        error.error_code = code
    return error


def raised(error: BaseException, *, while_handling: BaseException, on_purpose: bool = False) -> BaseException:
    try:
        try:
            raise while_handling
        except BaseException as first:
            if on_purpose:
                raise error from first
            raise error  # noqa: B904  it is what careless handlers do
    except BaseException as last:
        return last


@pytest.mark.parametrize("code", _FATAL)
def test_errors_after_which_a_context_is_dead(code: int) -> None:
    assert device_fault(accelerator_error(code)) == f"{_FATAL[code]}, error {code}"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        accelerator_error(2, "CUDA error: out of memory"),
        accelerator_error(1, "CUDA error: invalid argument"),
        accelerator_error(209, "CUDA error: no kernel image is available for execution on the device"),
        accelerator_error(701, "CUDA error: too many resources requested for launch"),
        RuntimeError("CUDA error: device-side assert triggered"),  # the text decides nothing
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        ValueError("uncorrectable ECC error 710"),
        MemoryError(),
        SystemExit(710),
    ],
)
def test_errors_that_a_context_survives(error: BaseException) -> None:
    assert device_fault(error) == ""


@pytest.mark.parametrize("on_purpose", [True, False])
@pytest.mark.parametrize("error", [ValueError("bad input"), PredictionException("sorry", 400), KeyError("x")])
def test_what_a_handler_makes_of_it_hides_nothing(error: Exception, on_purpose: bool) -> None:
    assert device_fault(raised(error, while_handling=accelerator_error(719), on_purpose=on_purpose)) == (
        "a launch failure, error 719"
    )


def test_a_chain_that_is_a_ring_ends() -> None:
    first, second = ValueError(), KeyError()
    first.__context__, second.__context__ = second, first
    assert device_fault(first) == ""


def old_torch(outcome: Exception | None, *, initialized: bool = True) -> Any:
    """As torch is before it has AcceleratorError, on a machine with a GPU."""

    class OutOfMemoryError(RuntimeError):
        pass

    def synchronize() -> None:
        if outcome is not None:
            raise OutOfMemoryError if isinstance(outcome, MemoryError) else outcome

    cuda = SimpleNamespace(
        is_initialized=lambda: initialized, synchronize=synchronize, OutOfMemoryError=OutOfMemoryError
    )
    return SimpleNamespace(cuda=cuda)


@pytest.mark.parametrize(
    ("module", "fault"),
    [
        (old_torch(RuntimeError("CUDA error: device-side assert triggered")), "RuntimeError"),
        (old_torch(RuntimeError("x"), initialized=False), ""),
        (old_torch(None), ""),
        (old_torch(MemoryError()), ""),
    ],
)
def test_where_torch_has_no_type_for_it_the_context_is_asked(
    monkeypatch: pytest.MonkeyPatch, module: Any, fault: str
) -> None:
    monkeypatch.setitem(sys.modules, "torch", module)
    assert device_fault(RuntimeError("CUDA error: whatever")) == fault


def test_a_failure_of_an_earlier_kernel_is_found_behind_an_error_of_another_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kernels run behind the program: it may have failed for a reason of its own before it sees theirs."""
    module = old_torch(accelerator_error(700))
    module.AcceleratorError = torch.AcceleratorError
    monkeypatch.setitem(sys.modules, "torch", module)
    assert device_fault(KeyError("label")) == "an illegal memory access, error 700"


def test_without_torch_there_is_no_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    assert device_fault(RuntimeError("CUDA error")) == ""
