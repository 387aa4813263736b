"""plan.read: which steps of a pipeline are fused and which are left, and why there is no plan where there is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision import models
from torchvision import transforms as v1
from torchvision.transforms import v2

from torchserve.kernels.plan import Plan, Unplanned, read
from torchserve.kernels.resize_normalize import Fit

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
END = (v1.ToTensor(), v1.Normalize(MEAN, STD))
TO_FLOAT = v2.ToDtype(torch.float32, scale=True)
CUBIC, NEAREST = v1.InterpolationMode.BICUBIC, v1.InterpolationMode.NEAREST
WEIGHTS = models.EfficientNet_B0_Weights.DEFAULT


class Shouting(v1.Normalize):
    """A subclass may mean anything."""


class Resize:
    """Of that name, and somebody else's."""


def composed(*steps: Any, of: Any = v1) -> Any:
    return of.Compose(list(steps))


PLANS = [
    (composed(v1.Resize(256), v1.CenterCrop(224), *END),
     Plan(Fit((224, 224), 256), mean=MEAN, std=STD), "[resize 256 bilinear, crop 224x224, normalize]"),
    (composed(v1.Resize([8]), v1.CenterCrop([5]), v1.ToTensor()), Plan(Fit((5, 5), 8)),
     "[resize 8 bilinear, crop 5x5, scale]"),
    (composed(v1.Resize((8, 9), interpolation=CUBIC), *END), Plan(Fit(resize=(8, 9)), "bicubic", MEAN, STD),
     "[resize 8x9 bicubic, normalize]"),
    (composed(v1.Resize(8, max_size=9), v1.ToTensor(), v1.Normalize([0.5], torch.tensor([0.25]))),
     Plan(Fit(resize=8, longest=9), mean=(0.5,), std=(0.25,)), "[resize 8 up to 9 bilinear, normalize]"),
    (composed(v1.PILToTensor(), v1.ConvertImageDtype(torch.float32)), Plan(Fit()), "[scale]"),
    (composed(v2.Resize(8), v2.ToImage(), TO_FLOAT, v2.Normalize(MEAN, STD), of=v2),
     Plan(Fit(resize=8), mean=MEAN, std=STD), "[resize 8 bilinear, normalize]"),
    (composed(v2.ToImage(), v2.Resize(8, interpolation=2), v2.CenterCrop(4), TO_FLOAT, of=v2),
     Plan(Fit((4, 4), 8), on_tensors=True), "[resize 8 bilinear, crop 4x4, scale]"),
    (WEIGHTS.transforms(), Plan(Fit((224, 224), 256), "bicubic", MEAN, STD),
     "[resize 256 bicubic, crop 224x224, normalize]"),
]  # fmt: skip


@pytest.mark.parametrize(("processing", "plan", "text"), PLANS, ids=[text for *_, text in PLANS])
def test_plans(processing: Any, plan: Plan, text: str) -> None:
    found = read(processing)
    assert found == plan
    assert str(found) == text


def test_what_comes_before_is_left_as_it_is() -> None:
    grey, pad = v1.Grayscale(3), v1.Pad(2)
    found = read(composed(grey, v1.CenterCrop(9), v1.Resize(8), pad, v1.CenterCrop(7), *END))
    assert [type(step).__name__ for step in found.head] == ["Grayscale", "CenterCrop", "Resize", "Pad"]
    assert found.head[0] is grey
    assert found.fit == Fit((7, 7))
    assert str(found) == "Grayscale + CenterCrop + Resize + Pad + [crop 7x7, normalize]"
    assert found == read(composed(*found.head, v1.CenterCrop(7), *END))
    assert found != read(composed(*found.head[:3], v1.Pad(2), v1.CenterCrop(7), *END))


UNPLANNED = [
    (lambda image: image, "image_processing is a <lambda>, no Compose"),
    (v1.ToTensor(), "is a ToTensor, no Compose"),
    (composed(), "it begins"),
    (composed(v1.Normalize(MEAN, STD), v1.ToTensor(), v1.CenterCrop(3)), "there is CenterCrop"),
    (composed(v1.ToTensor(), Shouting(MEAN, STD)), "there is Shouting"),
    (composed(v1.ToTensor(), v1.Normalize((0.5, 0.5), (0.5, 0.5))), r"the means \(0.5, 0.5\)"),
    (composed(v1.ToTensor(), v1.Normalize((0.5,), (0.0,))), r"the stds \(0.0,\)"),
    (composed(v1.ToTensor(), v1.Resize(8), v1.Normalize(MEAN, STD)), "there is Resize"),
    (composed(v1.Resize(8, interpolation=NEAREST), v1.ToTensor()), "Resize is by nearest"),
    (composed(v1.PILToTensor(), v1.ConvertImageDtype(torch.float16)), "ConvertImageDtype makes torch.float16"),
    (composed(v2.ToImage(), v2.ToDtype(torch.float32), of=v2), "ToDtype makes torch.float32, and not"),
    (composed(v2.ToImage(), v2.Resize(8, antialias=False), TO_FLOAT, of=v2), "and not bilinear with antialias"),
    (composed(v2.ToImage(), v2.Resize(8, interpolation=CUBIC), TO_FLOAT, of=v2), "and not bilinear with antialias"),
    (composed(v2.Resize(None, max_size=9), v2.ToImage(), TO_FLOAT, of=v2), "Resize has no size"),
    (composed(v2.Resize(8), v2.ToImage(), v2.CenterCrop(3), Resize(), TO_FLOAT, of=v2), "there is Resize"),
    (composed(v2.CenterCrop(8), TO_FLOAT, of=v2), "where PILToTensor or ToImage was looked for, it begins"),
    (WEIGHTS.transforms(interpolation=NEAREST), "ImageClassification is by nearest"),
    (WEIGHTS.transforms(std=(1.0, 0.0, 1.0)), r"the preset has the means .* and the stds \(1.0, 0.0, 1.0\)"),
]  # fmt: skip


@pytest.mark.parametrize(("processing", "why"), UNPLANNED, ids=[why for _, why in UNPLANNED])
def test_why_there_is_none(processing: Any, why: str) -> None:
    with pytest.raises(Unplanned, match=why):
        read(processing)


def test_colours() -> None:
    one, three = Plan(Fit(), mean=(0.5,), std=(0.25,)), Plan(Fit(), mean=MEAN, std=STD)
    assert one.colours(3) == ((0.5,) * 3, (0.25,) * 3)
    assert three.colours(3) == (MEAN, STD)
    assert [one.takes(channels) for channels in (0, 1, 2, 3, 4)] == [False, True, False, True, False]
    assert [three.takes(channels) for channels in (0, 1, 3)] == [False, False, True]
