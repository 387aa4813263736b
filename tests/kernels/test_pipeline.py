"""ImagePipeline on a pretended GPU that does everything as late as it may: right, and wrong once any wait is left out."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from torchserve.kernels import pipeline
from torchserve.kernels.pipeline import ImagePipeline, prepare
from torchserve.kernels.resize_normalize import Fit, reference
from torchserve.kernels.resize_normalize.frame import Frame
from torchserve.kernels.resize_normalize.taps import BITS, FIELDS, OUTSIDE

from .simulated import Gpu, gpu

CUDA = torch.device("cuda", 0)
FIT = Fit(crop=(12, 14), resize=16)
HALF = (0.5, 0.5, 0.5)


def by_tables(
    pixels: Tensor,
    described: Tensor,
    taps: Tensor,
    fill: int,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    out: Tensor,
) -> None:
    """What the kernel does, in NumPy: from the tables it is given, and from nothing else."""
    count, channels, height, width = out.shape
    for row, target in zip(described.view(count, FIELDS).tolist(), out, strict=True):
        offset, pitch, taps_y, taps_x, table_y, table_x, vertical_first = row
        axes = [_axis(taps, table_y, height, taps_y, pitch), _axis(taps, table_x, width, taps_x, channels)]
        lines = pixels[offset:].numpy()
        outer, inner = (axes[1], axes[0]) if vertical_first else (axes[0], axes[1])
        total = np.full((len(outer[0]), len(inner[0]), channels), 1 << (BITS - 1))
        for at, weight in zip(*outer[1:], strict=True):
            level = np.full_like(total, 1 << (BITS - 1))
            for beside, share in zip(*inner[1:], strict=True):
                places = at[:, None, None] + beside[None, :, None] + np.arange(channels)
                level += share[None, :, None] * lines[places]
            total += weight[:, None, None] * np.clip(level >> BITS, 0, 255)
        levels = np.clip(total >> BITS, 0, 255)
        levels[(outer[0] == OUTSIDE)[:, None] | (inner[0] == OUTSIDE)[None, :]] = fill
        levels = levels.swapaxes(0, 1) if vertical_first else levels
        values = torch.from_numpy(levels).permute(2, 0, 1).to(torch.float32) / 255
        target.copy_((values - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1))


def _axis(taps: Tensor, table: int, places: int, count: int, step: int) -> tuple[Any, list[Any], list[Any]]:
    """The starts, and by tap where its pixels are and what they weigh."""
    values = taps.numpy().astype(np.int64)
    starts, weights = values[table : table + places], values[table + places :][: count * places].reshape(count, places)
    return starts, [(np.maximum(starts, 0) + tap) * step for tap in range(count)], list(weights)


def pictures(number: int) -> list[Tensor]:
    """A batch of its own for each number."""
    generator = torch.Generator().manual_seed(number)
    sizes = [(20 + number, 30), (60, 21)][: 1 + number % 2]
    return [torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=generator) for size in sizes]


def expected(batch: list[Tensor], fit: Fit = FIT) -> Tensor:
    rows = [reference.resize(picture, fit.frame(picture.shape[:2]), "bilinear", 0) for picture in batch]
    return (torch.stack(rows).permute(0, 3, 1, 2).to(torch.float32) / 255 - 0.5) / 0.5


def served(device: Gpu, module: Any, batches: int = 7) -> list[bool]:
    """Whether each of so many batches was answered right: its pictures, through a model that takes the negative."""
    subject = module.ImagePipeline(CUDA, device.late(by_tables))
    asked, answers = [], []
    for number in range(batches):
        batch = pictures(number)
        asked.append(expected(batch))
        on_device = subject.batch(batch, FIT, HALF, HALF)
        for picture in batch:
            picture.fill_(7)  # the pictures are the caller's again
        answer = torch.empty(on_device.shape, device=CUDA)
        device.late(lambda answer, given: torch.neg(given, out=answer))(answer, on_device)
        answers.append(subject.download(answer))
    return [torch.allclose(pending.wait(), -wanted, atol=1e-5) for pending, wanted in zip(answers, asked, strict=True)]


def test_every_batch_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with gpu(monkeypatch) as device:
        assert served(device, pipeline) == [True] * 7


SOURCE = inspect.getsource(pipeline)
WAITS = re.findall(r"^ +\S*(?:wait_event|synchronize)\(.*$", SOURCE, re.MULTILINE)


def test_the_waits_are_known() -> None:
    """So that a new one gets a test as well."""
    assert len(WAITS) == 6


def without(wait: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module with one of its waits left out."""
    assert SOURCE.count(wait) == 1
    return planted(SOURCE.replace(wait, f"{wait[: len(wait) - len(wait.lstrip())]}pass"), folder, monkeypatch)


def planted(source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module as it would be with this source."""
    spoilt = folder / "planted_pipeline.py"
    spoilt.write_text(source)
    spec = importlib.util.spec_from_file_location("torchserve.kernels.planted_pipeline", spoilt)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where a dataclass looks for its annotations
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("wait", [wait for wait in WAITS if "slot.read.synchronize" not in wait], ids=str.strip)
def test_each_wait_is_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wait: str) -> None:
    module = without(wait, tmp_path, monkeypatch)
    with gpu(monkeypatch) as device:
        try:
            right = served(device, module)
        except (IndexError, ValueError):  # from tables full of poison
            return
    assert False in right


def test_buffers_grow_and_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_LEAST", 64)
    with gpu(monkeypatch) as device:
        assert served(device, pipeline) == [True] * 7


def test_a_buffer_is_not_let_go_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A freed buffer is anybody's: here the next one gets its bytes."""
    monkeypatch.setattr(pipeline, "_LEAST", 64)
    with gpu(monkeypatch) as device:
        subject = ImagePipeline(CUDA, device.late(by_tables))
        small = subject.batch([torch.zeros(16, 16, 3, dtype=torch.uint8)], FIT, HALF, HALF)
        subject.batch(pictures(0), FIT, HALF, HALF)
        freed = subject._slots[0].device
        subject.batch([torch.zeros(600, 600, 3, dtype=torch.uint8)], FIT, HALF, HALF)
        assert subject._slots[0].device is not freed
        freed.fill_(0xAA)
        device.finish()
        assert torch.equal(small, torch.full_like(small, -1.0))


def test_only_what_is_needed_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Tensor] = []
    with gpu(monkeypatch) as device:
        subject = ImagePipeline(
            CUDA, device.late(lambda there, described, *_, **__: sent.append(there[int(described[0]) :]))
        )
        subject.batch([torch.zeros(60, 90, 3, dtype=torch.uint8)], Fit(crop=(20, 20), resize=30), HALF, HALF)
        device.finish()
    assert [each.numel() for each in sent] == [42 * 42 * 3]


def test_without_a_kernel_plain_pytorch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "runs_triton", lambda _: False)
    frames: list[tuple[Frame, ...]] = []

    def late(device: Gpu) -> Callable[..., None]:
        real = reference.resize_normalize
        return device.late(lambda *arguments, out: (frames.append(arguments[1]), real(*arguments, out=out)))

    with gpu(monkeypatch) as device:
        op = pipeline.RESIZE_NORMALIZE
        monkeypatch.setattr(pipeline, "RESIZE_NORMALIZE", type("Op", (), {"reference": staticmethod(late(device))}))
        out = ImagePipeline(CUDA).batch(pictures(1), FIT, HALF, HALF)
        device.finish()
    assert len(frames) == 1
    assert op.reference is reference.resize_normalize
    torch.testing.assert_close(out, expected(pictures(1)), atol=1e-6, rtol=0)


def test_no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    with gpu(monkeypatch) as device:
        subject = ImagePipeline(CUDA, device.late(by_tables))
        assert subject.batch([], FIT, HALF, HALF).shape == (0, 3, 12, 14)
        assert subject._batches == 0


def test_several_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    with gpu(monkeypatch) as device, pytest.raises(ValueError, match="come out as"):
        ImagePipeline(CUDA, device.late(by_tables)).batch(pictures(1), Fit(), HALF, HALF)


def test_which_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    on_host = prepare(pictures(1), FIT, HALF, HALF, filter="bilinear", device=torch.device("cpu"))
    assert float((on_host - expected(pictures(1))).abs().max()) <= 2.001 / 255  # a level
    with gpu(monkeypatch) as device:
        made = ImagePipeline(CUDA, device.late(by_tables))
        monkeypatch.setattr(pipeline, "_pipeline", {CUDA: made}.__getitem__)
        on_device = prepare(pictures(1), FIT, HALF, HALF, filter="bilinear", device=CUDA)
        device.finish()
    torch.testing.assert_close(on_device, expected(pictures(1)), atol=1e-6, rtol=0)


def test_types_and_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    with gpu(monkeypatch) as device:
        subject = ImagePipeline(CUDA, device.late(by_tables))
        options = {"dtype": torch.float16, "memory_format": torch.channels_last}
        out = subject.batch(pictures(1), FIT, HALF, HALF, **options)
        device.finish()
    assert out.dtype == torch.float16
    assert out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out.float(), expected(pictures(1)), atol=1e-3, rtol=0)
