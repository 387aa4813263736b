"""FusedNormalize: the same tensors as the Compose that it stands in for, and None wherever it could not give them."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image
from torchvision import transforms

from torchserve.core.handlers.fused_normalize import FusedNormalize
from torchserve.core.handlers.image_classifier import ImageClassifier
from torchserve.core.handlers.vision import VisionHandler

CPU = torch.device("cpu")
IMAGENET = ImageClassifier.image_processing
MNIST = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])


class Shouting(transforms.Normalize):
    """A subclass may mean anything."""


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    generator = torch.Generator().manual_seed(width * height)
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = torch.randint(0, 256, (height, width, channels), dtype=torch.uint8, generator=generator).numpy()
    return Image.fromarray(pixels if channels > 1 else pixels[..., 0], mode=None)


@pytest.mark.parametrize(
    ("processing", "pictures"),
    [
        (IMAGENET, [picture(500, 375)]),
        (IMAGENET, [picture(500, 375), picture(101, 77), picture(37, 400)]),
        (MNIST, [picture(28, 28, "L"), picture(28, 28, "L")]),
    ],
)
def test_it_gives_what_the_compose_gives(processing, pictures):
    fused = FusedNormalize.of(processing)
    assert fused is not None
    assert fused.fits(pictures)
    batch = fused.batch(pictures, CPU)
    expected = torch.stack([processing(each) for each in pictures])
    assert batch.shape == expected.shape
    assert batch.is_contiguous()
    torch.testing.assert_close(batch, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "processing",
    [
        transforms.ToTensor(),
        transforms.Compose([transforms.ToTensor()]),
        transforms.Compose([transforms.Normalize((0.5,), (0.5,)), transforms.ToTensor()]),
        transforms.Compose([transforms.ToTensor(), Shouting((0.5,), (0.5,))]),
        transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5, 0.5), (0.5, 0.5))]),
        lambda image: image,
    ],
)
def test_it_leaves_all_else_alone(processing):
    assert FusedNormalize.of(processing) is None


def test_pictures_it_can_not_batch_are_left_to_the_compose():
    fused = FusedNormalize.of(IMAGENET)
    assert not fused.fits([picture(300, 300), picture(300, 300, "RGBA")])
    only_tail = FusedNormalize.of(transforms.Compose(IMAGENET.transforms[2:]))
    assert only_tail.batch([picture(8, 8), picture(9, 9)], CPU) is None
    to_grey = FusedNormalize.of(transforms.Compose([transforms.Grayscale(), *IMAGENET.transforms[2:]]))
    assert to_grey.batch([picture(8, 8)], CPU) is None


def test_a_vision_handler_answers_the_same_with_and_without_it(monkeypatch):
    handler = VisionHandler()
    handler.device = CPU
    handler.image_processing = IMAGENET
    rows = []
    for each in (picture(320, 240), picture(500, 375)):
        buffer = io.BytesIO()
        each.save(buffer, "PNG")
        rows.append({"data": buffer.getvalue()})
    with_it = handler.preprocess(rows)
    monkeypatch.setattr(FusedNormalize, "of", classmethod(lambda cls, processing: None))
    torch.testing.assert_close(with_it, handler.preprocess(rows), atol=1e-6, rtol=0)
