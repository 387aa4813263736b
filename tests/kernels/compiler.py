"""Compiles the kernels for GPUs that aren't here, exactly as a launch there would, and reads what they use.

As a program it takes a JSON list of jobs from stdin, {"op", "budget" (its number), "arch" (80 for sm_80, or AMD's
name), "kernels" (a file or null)}, and prints a list of what each compiled to. It must run without TRITON_INTERPRET.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

_RESOURCES = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)")
_STORE = re.compile(r"st\.global(?:\.\w+)*?(?:\.v(\d))?\.b(\d+)")
_AMD_STORE = re.compile(r"(?:global|buffer|flat)_store_(byte|short|dword)(?:x(\d))?")
_AMD_BITS = {"byte": 8, "short": 16, "dword": 32}
_CONSTANT = re.compile(r"(%\S+) = arith\.constant")
_OFFSET = re.compile(r"tt\.addptr %\S+, (%\S+) : .*?, (?:tensor<[\dx]+x)?(i\d+)")


class NoGpu:
    """What triton asks of a driver on the way to compiling, answered for a GPU that isn't here."""

    def __init__(self) -> None:
        self.arch: int | str = 0

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("hip", self.arch, 64) if isinstance(self.arch, str) else GPUTarget("cuda", self.arch, 32)

    def get_current_device(self) -> int | str:
        return self.arch  # triton keeps what it compiled by device

    def get_current_stream(self, device: int) -> int:
        return 0


def recorder() -> tuple[NoGpu, list[Any]]:
    """Makes every launch compile instead, for the GPU that the first result names, and adds it to the second."""
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    gpu, compiled, run = NoGpu(), [], JITFunction.run
    driver.set_active(gpu)

    def compile_only(kernel: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        compiled.append(run(kernel, *args, grid=grid, warmup=True, **options))

    JITFunction.run = compile_only
    return gpu, compiled


def measured(kernel: Any) -> dict[str, Any]:
    """What the compiled kernel uses and how it addresses. A spilled register shows as stack.

    Store widths are read from the PTX, whose vector stores become single instructions: disassembling takes 0.4 s each.
    """
    common = {"shared": kernel.metadata.shared, "narrow": narrow_offsets(kernel.asm["ttir"])}
    return common | (_on_amd(kernel.asm["amdgcn"]) if "amdgcn" in kernel.asm else _on_nvidia(kernel))


def _on_amd(text: str) -> dict[str, Any]:
    """A bf16 is rounded in steps of its own there, which nothing in the text tells from other code."""

    def number(key: str) -> int:
        return sum(map(int, re.findall(rf"\.{key}:\s+(\d+)", text)))

    return {
        "lanes": 64,
        "registers": number("vgpr_count"),
        "stack": number("private_segment_fixed_size"),
        "local": number("vgpr_spill_count") + number("sgpr_spill_count"),
        "store": max(_AMD_BITS[unit] * int(count or 1) for unit, count in _AMD_STORE.findall(text)),
        "truncates": [],
    }


def _on_nvidia(kernel: Any) -> dict[str, Any]:
    usage = _RESOURCES.search(_resources(kernel.asm["cubin"]))
    assert usage is not None
    registers, stack, local = map(int, usage.groups())
    return {
        "lanes": 32,
        "registers": registers,
        "stack": stack,
        "local": local,
        "store": max(int(count or 1) * int(bits) for count, bits in _STORE.findall(kernel.asm["ptx"])),
        "truncates": re.findall(r"cvt\.rz\.\w*f16\S*", kernel.asm["ptx"]),
    }


def narrow_offsets(ttir: str) -> list[str]:
    """The offsets, by their names, that are added to pointers in fewer than 64 bits and aren't constants."""
    constants = set(_CONSTANT.findall(ttir))
    return [name for name, kind in _OFFSET.findall(ttir) if kind != "i64" and name not in constants]


def _resources(cubin: bytes) -> str:
    import triton.backends.nvidia as backend

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [Path(backend.__file__).parent / "bin" / "cuobjdump", "--dump-resource-usage", file.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main() -> None:
    from torchserve.kernels.catalog import OPS

    from .interpreter import planted

    ops = {op.name: op for op in OPS}
    gpu, compiled = recorder()
    results = []
    for job in json.load(sys.stdin):
        op = ops[job["op"]]
        version: Callable[..., None] = planted(op, Path(job["kernels"])) if job["kernels"] else op.fused
        case = op.budgets[job["budget"]].case
        gpu.arch = job["arch"]
        compiled.clear()
        version(*case.inputs(), out=case.output())
        results.append([measured(kernel) for kernel in compiled])
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
