"""On a real GPU: every kernel against its reference, with guard bands around every tensor; Pillow; the order of streams."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from torchserve.core.handlers.image_classifier import ImageClassifier
from torchserve.core.handlers.images.fused_images import fusion, probe
from torchserve.core.handlers.images.pictures import Picture, open_picture
from torchserve.kernels.catalog import OPS
from torchserve.kernels.graphs import Unrecorded, answer_of, record_rows
from torchserve.kernels.jpeg import Jpeg, nvjpeg
from torchserve.kernels.op import Case, Op
from torchserve.kernels.pipeline import ImagePipeline, prepare, record_images
from torchserve.kernels.resize_normalize import Fit, cpu

from .memory import Bands
from .test_pipeline import FIT, HALF, expected, pictures
from .test_resize import FILTERS, ODD, PILLOW_13, noise
from .verdict import faults

CALLS = [
    pytest.param(op, case, id=f"{op.name}-{case.name}")
    for op in OPS
    for case in (*op.cases, *(budget.case for budget in op.budgets))
]


@pytest.mark.gpu
@pytest.mark.parametrize("fill", [0, 255])
@pytest.mark.parametrize(("op", "case"), CALLS)
def test_the_kernel_answers_as_the_reference(op: Op, case: Case, fill: int) -> None:
    assert faults(op, op.fused, case, Bands("cuda", fill)) == []


@pytest.mark.gpu
@pytest.mark.parametrize(("op", "case"), CALLS)
def test_the_op_chooses_its_kernel(op: Op, case: Case) -> None:
    inputs = [value.cuda() if isinstance(value, torch.Tensor) else value for value in case.inputs()]
    out = case.output().cuda()
    assert op.choose(*inputs, out=out) is op.fused


@pytest.mark.gpu
@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("size", ODD)
def test_pillow_to_the_last_bit(size: tuple[int, int], name: str) -> None:
    fit, picture = Fit(resize=(80, 50), as_pillow=PILLOW_13), noise(size, stark=True)
    image = Image.fromarray(picture.numpy()).resize((50, 80), FILTERS[name])
    right = cpu.cropped(torch.from_numpy(np.array(image)), fit.frame(size), 0)
    pipeline = ImagePipeline(torch.device("cuda", 0))
    answer = pipeline.download(pipeline.batch([picture], fit, (0.0,) * 3, (1.0,) * 3, filter=name)).wait()
    assert torch.equal((answer[0] * 255).round().to(torch.uint8).permute(1, 2, 0), right)


@pytest.mark.gpu
def test_every_batch_is_its_own() -> None:
    pipeline = ImagePipeline(torch.device("cuda", 0))
    slow = torch.randn(2048, 2048, device="cuda")
    asked, answers = [], []
    for number in range(60):
        batch = pictures(number % 9)
        asked.append(expected(batch))
        slow = (slow @ slow).clamp(-1, 1)  # the stream of the model lags behind the copies
        on_device = pipeline.batch(batch, FIT, HALF, HALF)
        for picture in batch:
            picture.fill_(7)
        answers.append(pipeline.download(-on_device))
    for pending, wanted in zip(answers, asked, strict=True):
        torch.testing.assert_close(pending.wait(), -wanted, atol=1e-5, rtol=0)


@pytest.mark.gpu
def test_pictures_become_answers_in_one_graph() -> None:
    device = torch.device("cuda", 0)
    graphs = record_images(device, (12, 14), HALF, HALF, (1, 2, 4), torch.neg)
    for number in range(30):
        batch = [*pictures(number % 7), *pictures(number % 5)]
        asked = expected(batch)
        made = prepare(batch, FIT, HALF, HALF, filter="bilinear", device=device, graphs=graphs)
        torch.testing.assert_close(made.cpu(), asked, atol=1e-5, rtol=0)
        torch.testing.assert_close(answer_of(made).cpu(), -asked, atol=1e-5, rtol=0)


@pytest.mark.gpu
def test_a_graph_answers_as_the_model() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten()).cuda().eval()
    graphs = record_rows(torch.zeros(3, 9, 9, device="cuda"), (1, 2, 4), model)
    for rows in (1, 2, 3, 4, 1):
        batch = torch.randn(rows, 3, 9, 9, device="cuda")
        answer = graphs.run(rows, lambda source, batch=batch: source[: len(batch)].copy_(batch, non_blocking=True))
        torch.testing.assert_close(answer, model(batch), atol=1e-2, rtol=1e-2)


@pytest.mark.gpu
def test_what_waits_for_the_device_is_not_recorded() -> None:
    with pytest.raises(Unrecorded, match="a batch of 2"):
        record_rows(torch.zeros(3, device="cuda"), (1, 2), lambda batch: batch * float(batch.sum()))
    assert float((torch.ones(3, device="cuda") + 1).sum()) == 6.0


@pytest.mark.gpu
def test_the_default_handler_is_fused() -> None:
    found = fusion(ImageClassifier.image_processing, torch.device("cuda", 0))
    assert found.fused is not None
    assert "at most 0.00 of 255 levels off" in found.note


def of_one_colour(number: int, size: tuple[int, int]) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", size, (number * 37 % 256, number * 101 % 256, number * 59 % 256)).save(made, "JPEG", quality=95)
    return made.getvalue()


def never(why: Exception) -> torch.Tensor:
    raise why


@pytest.mark.gpu
@pytest.mark.parametrize("progressive", [False, True])
def test_nvjpeg_decodes(progressive: bool) -> None:
    made = io.BytesIO()
    Image.open(io.BytesIO(probe((101, 333), "RGB"))).save(made, "JPEG", quality=95, progressive=progressive)
    (pixels,) = nvjpeg([torch.frombuffer(bytearray(made.getvalue()), dtype=torch.uint8)], torch.device("cuda", 0))
    off = pixels.cpu().permute(1, 2, 0).float() - open_picture(made.getvalue()).pixels().float()
    assert float(off.abs().mean()) < 24


@pytest.mark.gpu
def test_every_batch_that_nvjpeg_decodes_is_its_own() -> None:
    """Its stream waits for nobody, so its memory must not be used again too early."""
    pipeline = ImagePipeline(torch.device("cuda", 0))
    slow = torch.randn(2048, 2048, device="cuda")
    asked, answers = [], []
    for number in range(60):
        batch = [of_one_colour(number + place, (300 + 40 * place, 200)) for place in range(1 + number % 5)]
        asked.append(expected([open_picture(data).pixels() for data in batch]))
        slow = (slow @ slow).clamp(-1, 1)
        sources = [Jpeg(data, (200, 300 + 40 * place), never) for place, data in enumerate(batch)]
        answers.append(pipeline.download(-pipeline.batch(sources, FIT, HALF, HALF)))
    for pending, wanted in zip(answers, asked, strict=True):
        torch.testing.assert_close(pending.wait(), -wanted, atol=3 / 127.5, rtol=0)  # levels


@pytest.mark.gpu
def test_what_nvjpeg_refuses_is_decoded_by_the_host() -> None:
    picture = pictures(0)[0]
    sources = [Jpeg(b"no JPEG at all", (20, 30), lambda _: picture), Jpeg(of_one_colour(3, (60, 40)), (40, 60), never)]
    made = ImagePipeline(torch.device("cuda", 0)).batch(sources, FIT, HALF, HALF).cpu()
    torch.testing.assert_close(made[:1], expected([picture]), atol=1e-5, rtol=0)
    wanted = expected([open_picture(of_one_colour(3, (60, 40))).pixels()])
    torch.testing.assert_close(made[1:], wanted, atol=3 / 127.5, rtol=0)


@pytest.mark.gpu
def test_the_default_handler_by_nvjpeg() -> None:
    found = fusion(ImageClassifier.image_processing, torch.device("cuda", 0), gpu_jpeg=True)
    assert "; JPEGs decoded by the device, at most " in found.note
    assert found.fused is not None
    assert found.fused.source is Picture.for_device
