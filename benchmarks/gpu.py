"""Measures the kernels on a GPU: time, bytes, share of a copy's bandwidth, peers, and whole requests.

`benchmarks/gpu.sh` runs it after the tests. All results are compared first, and if any is wrong nothing is timed.
Prints Markdown. `--device cpu --batch 2` tries the program without a GPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchserve.kernels.catalog import OPS
from torchserve.kernels.op import Case, Op
from torchserve.kernels.resize_normalize import RESIZE_NORMALIZE
from torchvision import models

from . import gpu_ways
from .device_clock import Clock
from .photo import jpeg

SIZES = ((500, 375), (1920, 1080))


class Red(Exception):
    """An error for wrong results. The message has one line for each."""


def bandwidth(clock: Clock) -> float:
    """Return the bytes per second that a copy on the device reads and writes."""
    source = torch.empty(1 << 28, dtype=torch.uint8, device=clock.device)
    target = torch.empty_like(source)
    return 2 * source.numel() / clock.seconds(lambda: target.copy_(source))


def larger(case: Any, batch: int) -> Case:
    """Return the case of a budgeted call for a whole batch."""
    if hasattr(case, "sizes"):
        return replace(case, sizes=case.sizes * batch, parts=True)
    return replace(case, shape=(batch, *case.shape[1:])) if hasattr(case, "shape") else case


def kernel_of(op: Op, inputs: list[Any], out: Tensor) -> Callable[[], object]:
    """Return a call of the op. For resize_normalize it is the kernel alone: its tables are made on the host
    beforehand.
    """
    if op is not RESIZE_NORMALIZE or op.choose(*inputs, out=out) is not op.fused:
        return lambda: op(*inputs, out=out)
    from torchserve.kernels.resize_normalize import fused

    pixels, frames, name, fill, mean, std = inputs
    described, taps = fused.uploaded(frames, out.shape[1], name, out.device)
    return lambda: fused.launch(pixels, described, taps, fill, mean, std, out=out)


def off(op: Op, case: Case, out: Tensor) -> bool:
    """Return whether `out` differs from the reference by more than the op's tolerance."""
    expected = case.output()
    op.reference(*case.inputs(), out=expected)
    allowed = op.tolerance[case.dtype]
    limit = allowed.absolute + allowed.relative * expected.double().abs()
    return not bool(((out.cpu().double() - expected.double()).abs() <= limit).all())


@dataclass(frozen=True)
class Trial:
    """A budgeted call of an op for a whole batch, on the device."""

    op: Op
    name: str
    case: Case
    inputs: list[Any]
    out: Tensor


def trials(ops: Sequence[Op], device: torch.device, batch: int) -> tuple[list[Trial], list[str]]:
    """Compute each budgeted call once. Return the calls, and a line for each that is wrong.

    On a CPU nothing is compared, because the tests have done that.
    """
    made: list[Trial] = []
    for op in ops:
        for budget in op.budgets:
            case = larger(budget.case, batch)
            inputs = [value.to(device) if isinstance(value, Tensor) else value for value in case.inputs()]
            trial = Trial(op, budget.case.name, case, inputs, case.output().to(device).fill_(torch.nan))
            op(*inputs, out=trial.out)
            made.append(trial)
    wrong = [each for each in made if device.type != "cpu" and off(each.op, each.case, each.out)]
    return made, [f"{each.op.name}, {each.name}: not as its reference" for each in wrong]


def op_lines(clock: Clock, made: Sequence[Trial]) -> list[str]:
    copied = bandwidth(clock)
    lines = [
        f"A copy moves {copied / 1e9:.0f} GB/s.",
        "",
        "| op | call | chosen | µs | plain PyTorch, µs | | MB moved | share of a copy's bandwidth |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for trial in made:
        op, inputs, out = trial.op, trial.inputs, trial.out
        version = op.choose(*inputs, out=out)
        ours = clock.seconds(kernel_of(op, inputs, out))
        plain = clock.seconds(lambda op=op, inputs=inputs, out=out: op.reference(*inputs, out=out))
        moved = sum(value.nbytes for value in (*inputs, out) if isinstance(value, Tensor))
        chosen = "kernel" if version is op.fused else version.__module__.rpartition(".")[2]
        times = f"{ours * 1e6:.1f} | {plain * 1e6:.1f} | {plain / ours:.1f}x"
        share = f"{moved / 1e6:.1f} | {moved / ours / copied:.0%}"
        lines.append(f"| {op.name} | {trial.name} | {chosen} | {times} | {share} |")
    return lines


def resnet(device: torch.device) -> gpu_ways.Network:
    """Return ResNet-50, in half precision on a GPU, for batches as the handlers make them."""
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    network: Any = models.resnet50().eval().to(device, dtype)
    network.to(memory_format=torch.channels_last)
    return lambda batch: network(batch.to(dtype, memory_format=torch.channels_last))


def reports(
    clock: Clock,
    ops: Sequence[Op],
    batches: gpu_ways.Batches,
    network: gpu_ways.Network,
    threads: int,
) -> Iterator[list[str]]:
    """Yield the report's sections, each as soon as it is measured. Raises Red before anything is timed."""
    largest = max(map(len, batches.values()))
    calls, reds = trials(ops, clock.device, largest)
    made, more = gpu_ways.trials(gpu_ways.ways(clock.device, network, largest), batches, network)
    if reds + more:
        raise Red("\n".join(reds + more))
    yield op_lines(clock, calls)
    yield gpu_ways.lines(clock, made, batches, network, threads)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--runs", type=int, default=50, help="of which the median counts (default: 50)")
    parser.add_argument("--batch", type=int, default=32, help="pictures (default: 32)")
    parser.add_argument("--threads", type=int, default=8, help="that decode (default: 8)")
    parser.add_argument("--out", type=Path, help="a file for the report as well")
    options = parser.parse_args()
    device = torch.device(options.device, 0) if options.device == "cuda" else torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU: a trial of this program"
    batches = {f"{width} x {height}": [jpeg(width, height)] * options.batch for width, height in SIZES}
    clock, network = Clock(device, options.runs), resnet(device)
    told = [f"{name}, torch {torch.__version__}"]
    print(told[0])
    try:
        for section in reports(clock, OPS, batches, network, options.threads):
            told += ["", *section]
            print("", *section, sep="\n", flush=True)
    except Red as red:
        print(red)
        return 1
    if options.out:
        options.out.write_text("\n".join(told) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
