"""device_fault(): whether the device context of this process is dead, so that only a new process can use its GPU.

After some errors (an assertion in a kernel, an illegal access, an uncorrectable ECC error) CUDA and HIP answer every
further call of the process with the same error: a worker that went on would fail every request. After others, running
out of memory above all, the context is as good as before. Which it is, the exception says by its type and number
(torch.AcceleratorError has the error code of CUDA and HIP, which number these errors alike), and where torch is too
old for that, or the handler raised something else, the context is asked. What an exception's text says decides nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

_FATAL = {
    214: "an uncorrectable ECC error",
    220: "an uncorrectable NVLink error",
    700: "an illegal memory access",
    702: "a kernel that ran for too long",
    709: "a context that has been destroyed",
    710: "a device-side assertion",
    714: "an error in the hardware's call stack",
    715: "an illegal instruction",
    716: "a misaligned address",
    717: "an access to an invalid address space",
    718: "an invalid program counter",
    719: "a launch failure",
    721: "a tensor memory leak",
    999: "an unknown error",
}


def device_fault(error: BaseException) -> str:
    """Say in a few words what has killed the context, for an exception that a handler raised; "" if it is alive."""
    torch: Any = sys.modules.get("torch")  # never imported for this: without it there is no context
    if torch is None:
        return ""
    for each in _chain(error):
        code = _error_code(torch, each)
        if code in _FATAL:
            return f"{_FATAL[code]}, error {code}"
    return _asked(torch)


def _error_code(torch: Any, error: BaseException) -> int | None:
    kind = getattr(torch, "AcceleratorError", None)
    code = getattr(error, "error_code", None) if kind is not None and isinstance(error, kind) else None
    return code if isinstance(code, int) else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and those that it was raised from, or while handling which it was raised."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _asked(torch: Any) -> str:
    """Wait for the device: a dead context tells its error again, as does a kernel whose failure nobody has seen yet."""
    try:
        if not torch.cuda.is_initialized():
            return ""
        torch.cuda.synchronize()
    except Exception as error:  # noqa: BLE001  whatever it is, the context did not answer
        if isinstance(error, torch.cuda.OutOfMemoryError):
            return ""
        code = _error_code(torch, error)
        return f"{_FATAL.get(code or 0, type(error).__name__)}, error {code}" if code else type(error).__name__
    return ""
