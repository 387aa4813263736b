"""Fused preprocessing: the tensors of the handler's own transforms, or those transforms themselves and a reason."""

from __future__ import annotations

import io
import logging
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms
from torchvision.transforms import v2

from torchserve.core.handlers.image_classifier import ImageClassifier
from torchserve.core.handlers.images import fused_images
from torchserve.core.handlers.images.fused_images import FusedImages, fusion
from torchserve.core.handlers.images.pictures import open_picture
from torchserve.core.handlers.object_detector import ObjectDetector
from torchserve.core.handlers.vision import VisionHandler
from torchserve.kernels.plan import read

from .test_pictures import encoded, photo

CPU = torch.device("cpu")
IMAGENET = ImageClassifier.image_processing
END = IMAGENET.transforms[2:]
CUBIC = transforms.InterpolationMode.BICUBIC
PIPELINES = {
    "imagenet": IMAGENET,
    "mnist": transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]),
    "tensor": transforms.Compose([transforms.ToTensor()]),
    "bicubic": transforms.Compose([transforms.Resize((40, 30), interpolation=CUBIC), *END]),
    "grey": transforms.Compose([transforms.Grayscale(), transforms.Resize(28), transforms.CenterCrop(28), END[0]]),
    "own": transforms.Compose([transforms.Lambda(lambda image: image.convert("RGB")), *IMAGENET.transforms]),
    "tensors": v2.Compose([v2.ToImage(), v2.Resize(60), v2.ToDtype(torch.float32, scale=True)]),
}
KINDS = [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "L"), ("PNG", "RGBA"), ("PNG", "P"),
         ("PNG", "I;16"), ("WEBP", "RGB")]  # fmt: skip


class Handler(VisionHandler):
    """One of its own transforms, with what `yaml` the model has."""

    def __init__(self, processing: Any, yaml: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.device = CPU
        self.image_processing = processing
        self.context = SimpleNamespace(model_yaml_config=yaml or {}, notes={}, system_properties={"batch_size": 1})


@cache  # what is fused is proven by examples, once for each handler
def handler_of(processing: Any, *, fused: bool) -> Handler:
    return Handler(processing, {"fusedPreprocessing": fused})


def answers(processing: Any, bodies: list[bytes], *, fused: bool) -> Any:
    """The batch, or the kind of what was raised."""
    handler = handler_of(processing, fused=fused)
    try:
        return handler.preprocess([{"data": body} for body in bodies])
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("name", PIPELINES)
def test_each_of_these_is_fused(name: str) -> None:
    assert isinstance(fusion(PIPELINES[name], CPU).fused, FusedImages)


@settings(max_examples=40)
@given(
    name=st.sampled_from(list(PIPELINES)),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=2),
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    other=st.integers(1, 300),
)
def test_a_vision_handler_answers_the_same_with_and_without_it(
    name: str, kinds: list[tuple[str, str]], size: tuple[int, int], other: int
) -> None:
    sizes = [size, (other, size[1])]
    bodies = [encoded(photo(*each, mode), kind) for each, (kind, mode) in zip(sizes, kinds, strict=False)]
    written, fused = (answers(PIPELINES[name], bodies, fused=on) for on in (False, True))
    if isinstance(written, type):
        assert fused is written
        return
    assert (fused.shape, fused.dtype, fused.device) == (written.shape, written.dtype, written.device)
    level = 1.03 / (255 * 0.224)  # of the smallest std; 0.229 is another channel's
    off = (fused - written).abs()
    assert int((off > level).sum()) <= 1  # PyTorch's resize is two levels off once in a hundred million values
    assert float(off.max()) <= 2 * level


def test_an_aspect_without_a_crop_is_refused_as_before() -> None:
    bodies = [encoded(photo(30, 40)), encoded(photo(31, 40))]
    processing = transforms.Compose([transforms.Resize(20), *END])
    assert answers(processing, bodies, fused=True) is answers(processing, bodies, fused=False) is RuntimeError


def test_a_detector_gets_images_of_several_sizes() -> None:
    handler = ObjectDetector()
    handler.device = CPU
    handler.context = SimpleNamespace(model_yaml_config={})
    prepared = handler.preprocess([{"data": encoded(photo(30, 40))}, {"body": encoded(photo(31, 40))}])
    assert [tensor.shape[1:] for tensor in prepared] == [(40, 30), (40, 31)]


def test_lists_among_the_pictures_are_as_before() -> None:
    lists = [[[0.5] * 224] * 224] * 3
    handler = Handler(IMAGENET)
    batch = handler.preprocess([{"data": lists}, {"data": encoded(photo(300, 250))}])
    assert torch.equal(batch[0], torch.full((3, 224, 224), 0.5))
    assert torch.equal(batch[1], IMAGENET(Image.open(io.BytesIO(encoded(photo(300, 250))))))


def test_a_torn_jpeg_is_refused_as_before() -> None:
    torn = encoded(photo(300, 250))[:3000]
    assert answers(IMAGENET, [torn], fused=True) is answers(IMAGENET, [torn], fused=False) is OSError


# ---- the check


def off_by(levels: float) -> Any:
    def off(*arguments: Any, **options: Any) -> torch.Tensor:
        answer = real(*arguments, **options)
        answer[..., -1, -1] += levels / 255 / 0.224
        return answer

    real = fused_images.prepare
    return off


def test_a_plan_that_is_off_is_not_taken(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(fused_images, "prepare", off_by(2.5))
    caplog.set_level(logging.WARNING)
    handler = Handler(IMAGENET)
    handler.settle(handler.context)
    note = handler.context.notes["preprocessing"]
    assert "[resize 256 bilinear, crop 224x224, normalize] is off, it is " in note
    assert "of 255 levels off its own transforms on a RGB JPEG of 500x375" in note
    assert note in caplog.text
    body = encoded(photo(300, 250))
    assert torch.equal(handler.preprocess([{"data": body}]), answers(IMAGENET, [body], fused=False))


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (lambda *_, **__: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda *_, **__: torch.zeros(1, 3, 2, 2), r"it makes torch.float32 [3, 2, 2] where its own transforms make"),
        (lambda *_, **__: torch.full((1, 3, 224, 224), torch.nan), "it is nan of 255 levels off"),
    ],
)
def test_a_plan_that_fails_is_not_taken(monkeypatch: pytest.MonkeyPatch, raised: Any, text: str) -> None:
    monkeypatch.setattr(fused_images, "prepare", raised)
    found = fusion(IMAGENET, CPU)
    assert found.fused is None
    assert text in found.note


def test_chance_is_not_fused() -> None:
    turned = transforms.Compose([transforms.RandomRotation(80), transforms.ToTensor()])
    assert "RandomRotation + [scale] is off, it is " in fusion(turned, CPU).note


def test_it_is_checked_once_and_again_for_other_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    monkeypatch.setattr(fused_images, "compare", lambda fused, _: checked.append(str(fused.plan)) or "compared")
    first = fusion(IMAGENET, CPU)
    assert fusion(transforms.Compose(list(IMAGENET.transforms)), CPU, first) is first
    other = fusion(PIPELINES["tensor"], CPU, first)
    assert len(checked) == 2
    assert other.note == "fused: [scale], compared"
    none = fusion(str, CPU, other)
    assert fusion(str, CPU, none) is none
    assert none.note == "as written: image_processing is a str, no Compose"


def test_steps_made_anew_for_each_batch_are_given_up() -> None:
    found = None
    for _ in range(15):
        found = fusion(transforms.Compose([transforms.Pad(1), transforms.ToTensor()]), CPU, found)
    assert found is not None
    assert (found.fused, found.note) == (None, "as written: image_processing is another one time and again")


def test_a_pipeline_that_can_not_be_read_is_used_as_it_is() -> None:
    spoilt = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    spoilt.transforms[1].mean = "?"
    assert fusion(spoilt, CPU).note.startswith("as written: image_processing can't be read, ValueError: ")


# ---- the switch and the note


def test_the_yaml_switches_it_off() -> None:
    handler = Handler(IMAGENET, {"fusedPreprocessing": False})
    handler.settle(handler.context)
    assert handler.context.notes["preprocessing"] == "as written: fusedPreprocessing is false in the model's yaml"
    body = encoded(photo(300, 250))
    expected = torch.stack([IMAGENET(Image.open(io.BytesIO(body)))])
    assert torch.equal(handler.preprocess([{"data": body}]), expected)


def test_what_was_chosen_is_noted() -> None:
    handler = Handler(IMAGENET)
    handler.settle(handler.context)
    note = handler.context.notes["preprocessing"]
    assert note.startswith("fused: [resize 256 bilinear, crop 224x224, normalize], at most ")
    assert note.endswith(" of 255 levels off on 5 pictures")


def test_a_preprocess_of_its_own_is_not_spoken_for() -> None:
    class Own(Handler):
        def preprocess(self, data: Any) -> Any:
            return torch.stack([self.image_processing(Image.open(io.BytesIO(row["data"]))) for row in data])

    handler = Own(IMAGENET)
    handler.settle(handler.context)
    assert "preprocessing" not in handler.context.notes


def test_a_handler_that_never_called_its_base() -> None:
    class Bare(VisionHandler):
        def __init__(self) -> None:
            self.image_processing = IMAGENET
            self.device = "cpu"

    body = encoded(photo(300, 250))
    bare = Bare()
    assert bare.preprocess([{"data": body}]).shape == (1, 3, 224, 224)
    assert bare._find_fusion().note.startswith("fused: ")


def test_a_handler_without_transforms_loads() -> None:
    handler = VisionHandler()
    handler.settle(SimpleNamespace(notes={}, system_properties={"batch_size": 1}))


def test_a_head_that_makes_something_else() -> None:
    """As a subclass may: what its steps get is an image, and what they make is theirs."""
    processing = transforms.Compose([transforms.Lambda(lambda image: image.convert("RGBA")), transforms.ToTensor()])
    assert "its head makes no plain image of an RGB one" in fusion(processing, CPU).note
    fused = FusedImages(read(processing), CPU)
    assert fused.batch([open_picture(encoded(photo(9, 9)))]) is None
