"""resize_normalize beside what it stands in for: Pillow to the last bit, torchvision's Compose, a letterbox by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, __version__
from torchvision import transforms

from torchserve.kernels.resize_normalize import RESIZE_NORMALIZE, Fit, Frame, cpu, reference, resize_normalize
from torchserve.kernels.resize_normalize.cases import ResizeCase
from torchserve.kernels.resize_normalize.taps import needed

from .drawn import fits, resize_cases, sizes
from .memory import Bands
from .verdict import faults

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
PILLOW_13 = int(__version__.partition(".")[0]) >= 13
ODD = [(1, 1), (1, 40), (40, 1), (37, 400), (400, 37), (77, 101), (101, 77), (64, 64), (375, 500), (500, 375)]


def noise(size: tuple[int, int], *, stark: bool = False) -> torch.Tensor:
    levels = torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(7))
    return (levels >> 7) * 255 if stark else levels


def by_pillow(picture: torch.Tensor, frame: Frame, name: str) -> torch.Tensor:
    image = Image.fromarray(picture.numpy()).resize(frame.resized[::-1], FILTERS[name])
    return cpu.cropped(torch.from_numpy(np.array(image)), frame, 0)


def unlike(picture: torch.Tensor, resize: tuple[int, int], name: str) -> tuple[int, int]:
    """By how many levels the reference and the CPU path are off Pillow, at most."""
    frame = Fit(resize=resize, as_pillow=PILLOW_13).frame((picture.shape[0], picture.shape[1]))
    right = by_pillow(picture, frame, name).to(torch.int64)
    ours = reference.resize(picture, frame, name, 0)
    fast = cpu.cropped(cpu.resized(picture, frame, name), frame, 0).to(torch.int64)
    return int((ours - right).abs().max()), int((fast - right).abs().max())


@pytest.mark.parametrize("stark", [False, True])
@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("size", ODD)
def test_pillow_to_the_last_bit(size: tuple[int, int], name: str, stark: bool) -> None:
    for resize in [(32, 32), (80, 50), (50, 80), size, (size[0], 20), (20, size[1])]:
        reference_off, cpu_off = unlike(noise(size, stark=stark), resize, name)
        assert reference_off == 0
        assert cpu_off <= 1


@settings(max_examples=150, derandomize=True)  # as below
@given(size=sizes, resize=sizes, name=st.sampled_from(list(FILTERS)), stark=st.booleans())
@example(size=(60, 30), resize=(40, 20), name="bicubic", stark=True)  # the rows' difference is twice the columns'
@example(size=(61, 30), resize=(40, 20), name="bicubic", stark=True)  # and one more
@example(size=(60, 30), resize=(60, 40), name="bicubic", stark=True)  # wider, and as high as it was
def test_pillow_at_any_size(size: tuple[int, int], resize: tuple[int, int], name: str, stark: bool) -> None:
    reference_off, cpu_off = unlike(noise(size, stark=stark), resize, name)
    assert reference_off == 0
    assert cpu_off <= 1


@settings(max_examples=60, derandomize=True)  # a value in 10^8 is two levels off; not in these
@given(case=resize_cases)
def test_the_cpu_path_at_any_size(case: ResizeCase) -> None:
    assert faults(RESIZE_NORMALIZE, RESIZE_NORMALIZE.cpu, case, Bands("cpu", fill=255)) == []


COMPOSED = [
    (Fit(resize=64, crop=(56, 56)), [transforms.Resize(64), transforms.CenterCrop(56)]),
    (Fit(resize=(30, 70), crop=(55, 20)), [transforms.Resize((30, 70)), transforms.CenterCrop((55, 20))]),
    (Fit(resize=20, longest=25, crop=(24, 31)), [transforms.Resize(20, max_size=25), transforms.CenterCrop((24, 31))]),
    (Fit(crop=(41, 90)), [transforms.CenterCrop((41, 90))]),
    (Fit(resize=33), [transforms.Resize(33)]),
]


@pytest.mark.parametrize("size", ODD)
@pytest.mark.parametrize(("fit", "steps"), COMPOSED)
def test_torchvisions_compose(fit: Fit, steps: list[Any], size: tuple[int, int]) -> None:
    written = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.25,) * 3)])
    picture = noise(size)
    if fit.longest and size in [(1, 40), (40, 1)]:
        with pytest.raises(ValueError, match=r"would become one of (0 x 25|25 x 0)"):
            resize_normalize([picture], fit)
        return
    expected = written(Image.fromarray(picture.numpy()))
    answer = resize_normalize([picture], fit, (0.5,) * 3, (0.25,) * 3)[0]
    assert answer.shape == expected.shape
    assert float((answer - expected).abs().max()) * 0.25 * 255 <= 1.001


@given(size=sizes, fit=fits, name=st.sampled_from(list(FILTERS)))
def test_what_is_needed_of_a_picture_is_enough_and_no_more(size: tuple[int, int], fit: Fit, name: str) -> None:
    try:
        whole = fit.frame(size)
    except ValueError:  # a side of 0 pixels
        return
    part = needed(whole, name)
    picture = noise(size, stark=True)
    stored = picture[part.top : part.top + part.height, part.left : part.left + part.width]
    assert stored.shape == (part.height, part.width, 3)
    expected = reference.resize(picture, whole, name, 0)
    assert torch.equal(reference.resize(stored, replace(whole, part=part), name, 0), expected)


def test_what_is_needed_by_hand() -> None:
    """Half the size: an output pixel is made of 4, 2 to either side of the middle of its own 2."""
    assert needed(Fit(crop=(20, 20), resize=30).frame((60, 90)), "bilinear") == (9, 23, 42, 42)


def test_a_strip_costs_no_more_than_its_crop() -> None:
    """Its shorter side made 256 pixels long, it would have 2.5 thousand million."""
    strip = torch.arange(40_000).remainder(256).to(torch.uint8).view(1, -1, 1).expand(-1, -1, 3).contiguous()
    answer = resize_normalize([strip], Fit(crop=(224, 224), resize=256), (0,) * 3, (1,) * 3)
    assert (answer * 255).round().unique().tolist() == [
        31.0,
        32.0,
    ]  # the middle, places 19999 and 20000, of 256 wide each


def test_a_letterbox_by_hand() -> None:
    picture = torch.full((20, 40, 3), 200, dtype=torch.uint8)
    answer = resize_normalize([picture], Fit(crop=(32, 32), letterbox=True), (0,) * 3, (1,) * 3, fill=114)[0]
    levels = (answer * 255).round().to(torch.int64)
    assert levels[0, :, 0].tolist() == [114] * 8 + [200] * 16 + [114] * 8
    assert Fit(crop=(32, 32), letterbox=True).frame((20, 39)).corner == (-8, 0)


def test_a_batch_is_its_pictures() -> None:
    pictures = [noise((30, 50)), noise((61, 20))]
    fit = Fit(resize=24, crop=(20, 20))
    batch = resize_normalize(pictures, fit, dtype=torch.float16, memory_format=torch.channels_last)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    for picture, row in zip(pictures, batch, strict=True):
        assert torch.equal(resize_normalize([picture], fit, dtype=torch.float16)[0], row)
    assert resize_normalize([], fit).shape == (0, 3, 20, 20)


PICTURE, HALF = torch.zeros(4, 5, 3, dtype=torch.uint8), (0.5,) * 3
REFUSED = [
    (([PICTURE.float()], Fit()), {}, TypeError, r"uint8 pictures, got torch\.float32"),
    (([PICTURE[..., 0]], Fit()), {}, ValueError, r"\[H, W, 3\], got \[4, 5\]"),
    (([PICTURE[..., :1]], Fit()), {}, ValueError, r"got \[4, 5, 1\]"),
    (([PICTURE[:0]], Fit()), {}, ValueError, r"got \[0, 5, 3\]"),
    (([PICTURE, PICTURE[:3]], Fit()), {}, ValueError, r"\[\(3, 5\), \(4, 5\)\]: name a crop"),
    (([PICTURE], Fit()), {"dtype": torch.float64}, TypeError, r"got torch\.float64"),
    (([PICTURE], Fit(), HALF, (1.0, 0.0, 1.0)), {}, ValueError, "none of them 0"),
    (([PICTURE], Fit()), {"filter": "nearest"}, ValueError, "got 'nearest' and 0"),
    (([PICTURE], Fit()), {"fill": 256}, ValueError, "got 'bilinear' and 256"),
    (([PICTURE], Fit()), {"memory_format": torch.preserve_format}, ValueError, r"got torch\.preserve_format"),
]


@pytest.mark.parametrize(("arguments", "options", "error", "text"), REFUSED)
def test_what_it_refuses(arguments: Any, options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        resize_normalize(*arguments, **options)
