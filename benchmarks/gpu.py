"""The kernels on a GPU: time, bytes, share of the bandwidth that a copy reaches, peers, and whole requests.

`benchmarks/gpu.sh` runs it after the tests. What is off has no time.
Prints Markdown; `--device cpu --batch 2` tries it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchserve.core.handlers.pictures import opened
from torchserve.kernels.catalog import OPS
from torchserve.kernels.normalize_images.cases import IMAGENET_MEAN, IMAGENET_STD
from torchserve.kernels.op import Case, Op
from torchserve.kernels.pipeline import ImagePipeline
from torchserve.kernels.resize_normalize import RESIZE_NORMALIZE, Fit, resize_normalize
from torchvision import models
from torchvision.transforms.v2 import functional

from .photo import jpeg

SIZES = ((500, 375), (1920, 1080))
FIT = Fit(crop=(224, 224), resize=256)


@dataclass(frozen=True)
class Clock:
    """Times work on `device`: between events on a GPU, the queue kept full; by the host's clock elsewhere."""

    device: torch.device
    runs: int

    def seconds(self, work: Callable[[], object]) -> float:
        """The median of so many runs, after three to warm up."""
        for _ in range(3):
            work()
        if self.device.type != "cuda":
            return statistics.median(self._by_host(work) for _ in range(self.runs))
        marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(self.runs)]
        torch.cuda.synchronize()
        for before, after in marks:
            before.record()
            work()
            after.record()
        torch.cuda.synchronize()
        return statistics.median(before.elapsed_time(after) for before, after in marks) / 1e3

    def wall(self, work: Callable[[], object]) -> float:
        """The best of three by the host's clock, until the device has nothing left to do."""
        work()
        return min(self._by_host(work) for _ in range(3))

    def _by_host(self, work: Callable[[], object]) -> float:
        self.settle()
        started = time.perf_counter()
        work()
        self.settle()
        return time.perf_counter() - started

    def settle(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def bandwidth(clock: Clock) -> float:
    """Bytes a second that a copy on the device reads and writes."""
    source = torch.empty(1 << 28, dtype=torch.uint8, device=clock.device)
    target = torch.empty_like(source)
    return 2 * source.numel() / clock.seconds(lambda: target.copy_(source))


def larger(case: Any, batch: int) -> Case:
    """The budgeted call, for a whole batch."""
    if hasattr(case, "sizes"):
        return replace(case, sizes=case.sizes * batch, parts=True)
    return replace(case, shape=(batch, *case.shape[1:])) if hasattr(case, "shape") else case


def kernel_of(op: Op, inputs: list[Any], out: Tensor) -> Callable[[], object]:
    """The op; of resize_normalize the kernel alone: its tables are made on the host and travel with the pictures."""
    if op is not RESIZE_NORMALIZE or op.choose(*inputs, out=out) is not op.fused:
        return lambda: op(*inputs, out=out)
    from torchserve.kernels.resize_normalize import fused

    pixels, frames, name, fill, mean, std = inputs
    described, taps = fused.uploaded(frames, out.shape[1], name, out.device)
    return lambda: fused.launch(pixels, described, taps, fill, mean, std, out=out)


def off(op: Op, case: Case, out: Tensor) -> bool:
    expected = case.output()
    op.reference(*case.inputs(), out=expected)
    allowed = op.tolerance[case.dtype]
    limit = allowed.absolute + allowed.relative * expected.double().abs()
    return not bool(((out.cpu().double() - expected.double()).abs() <= limit).all())


def op_lines(clock: Clock, copied: float, batch: int) -> tuple[list[str], bool]:
    """A row for each budgeted call, and whether all are right."""
    lines = [
        "| op | call | chosen | µs | plain PyTorch, µs | | MB moved | share of a copy's bandwidth |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    right = True
    for op in OPS:
        for budget in op.budgets:
            name, case = budget.case.name, larger(budget.case, batch)
            inputs = [value.to(clock.device) if isinstance(value, Tensor) else value for value in case.inputs()]
            out = case.output().to(clock.device).fill_(torch.nan)
            version = op.choose(*inputs, out=out)
            op(*inputs, out=out)
            if clock.device.type != "cpu" and off(op, case, out):
                lines.append(f"| {op.name} | {name} | red | | | | | |")
                right = False
                continue
            ours = clock.seconds(kernel_of(op, inputs, out))
            plain = clock.seconds(lambda op=op, inputs=inputs, out=out: op.reference(*inputs, out=out))
            moved = sum(value.nbytes for value in (*inputs, out) if isinstance(value, Tensor))
            chosen = "kernel" if version is op.fused else version.__module__.rpartition(".")[2]
            times = f"{ours * 1e6:.1f} | {plain * 1e6:.1f} | {plain / ours:.1f}x"
            share = f"{moved / 1e6:.1f} | {moved / ours / copied:.0%}"
            lines.append(f"| {op.name} | {name} | {chosen} | {times} | {share} |")
    return lines, right


def by_torchvision(pictures: list[Tensor], device: torch.device) -> Tensor:
    """As its GPU preprocessing is written: picture by picture, in float."""
    made = []
    for picture in pictures:
        values = picture.to(device, non_blocking=True).permute(2, 0, 1)
        values = functional.center_crop(functional.resize(values, [256], antialias=True), [224, 224])
        made.append(functional.to_dtype(values, torch.float32, scale=True))
    return functional.normalize(torch.stack(made), list(IMAGENET_MEAN), list(IMAGENET_STD))


def way_lines(clock: Clock, threads: int, batch: int) -> list[str]:
    """JPEGs to a network's answers on the host: pictures a second, by who preprocesses."""
    device = clock.device
    half = torch.float16 if device.type == "cuda" else torch.float32
    network: Any = models.resnet50().eval().to(device, half)
    network.to(memory_format=torch.channels_last)
    ways: dict[str, Callable[[list[Tensor]], Tensor]] = {
        "the CPU path, then one upload": lambda pictures: resize_normalize(pictures, FIT).to(device, half),
        "torchvision on the device": lambda pictures: by_torchvision(pictures, device).to(half),
    }
    if device.type == "cuda":
        pipeline = ImagePipeline(device)
        ways["the pipeline"] = lambda pictures: pipeline.batch(
            pictures, FIT, IMAGENET_MEAN, IMAGENET_STD, dtype=half, memory_format=torch.channels_last
        )
    lines = [
        f"| preprocessing, {batch} pictures | size | pictures/s | with ResNet-50 | and decoding, {threads} threads |",
        "|---|---|---:|---:|---:|",
    ]
    with ThreadPoolExecutor(threads) as pool, torch.inference_mode():
        for width, height in SIZES:
            data = [jpeg(width, height)] * batch
            pictures = [opened(each).pixels() for each in data]
            for name, way in ways.items():
                alone = clock.wall(lambda way=way, pictures=pictures: way(pictures))
                served = clock.wall(lambda way=way, pictures=pictures: network(way(pictures)).argmax(1).cpu())
                whole = clock.wall(
                    lambda way=way, data=data: network(way(list(pool.map(_pixels, data)))).argmax(1).cpu()
                )
                figures = " | ".join(f"{batch / each:.0f}" for each in (alone, served, whole))
                lines.append(f"| {name} | {width} x {height} | {figures} |")
    return lines


def _pixels(data: bytes) -> Tensor:
    return opened(data).pixels()


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--runs", type=int, default=50, help="of which the median counts (default: 50)")
    parser.add_argument("--batch", type=int, default=32, help="pictures (default: 32)")
    parser.add_argument("--threads", type=int, default=8, help="that decode (default: 8)")
    parser.add_argument("--out", type=Path, help="a file for the report as well")
    options = parser.parse_args()
    device = torch.device(options.device, 0) if options.device == "cuda" else torch.device(options.device)
    clock = Clock(device, options.runs)
    copied = bandwidth(clock)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU: a trial of this program"
    ops, right = op_lines(clock, copied, options.batch)
    report = [
        f"{name}, torch {torch.__version__}; a copy moves {copied / 1e9:.0f} GB/s", "", *ops, "",
        *way_lines(clock, options.threads, options.batch),
    ]  # fmt: skip
    print("\n".join(report))
    if options.out:
        options.out.write_text("\n".join(report) + "\n")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
