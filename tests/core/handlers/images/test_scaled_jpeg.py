"""Large JPEGs decoded at a fraction of their size: near the pipeline's pixels, told, and nothing else is touched."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torchvision import transforms

from torchserve.core.handlers.image_classifier import ImageClassifier
from torchserve.core.handlers.images import pictures
from torchserve.core.handlers.images.fused_images import fusion
from torchserve.core.handlers.images.pictures import Picture, open_picture
from torchserve.core.handlers.images.scaled_jpeg import scaled_source

from .test_fused_images import CPU, IMAGENET, PIPELINES, Handler
from .test_pictures import encoded, photo

SMALL = transforms.Compose([transforms.Resize(32), transforms.CenterCrop(28), *IMAGENET.transforms[2:]])


@pytest.mark.parametrize("decoder", ["simplejpeg", "Pillow"])
@pytest.mark.parametrize(
    ("size", "least", "shape"),
    [
        ((640, 480), (240, 320), (240, 320)),
        ((640, 480), (100, 100), (120, 160)),
        ((640, 480), (10, 10), (60, 80)),
        ((641, 483), (60, 80), (61, 81)),
        ((640, 480), (241, 100), (480, 640)),
    ],
)
def test_the_smallest_that_is_large_enough(
    decoder: str, size: Any, least: tuple[int, int], shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    if decoder == "Pillow":
        monkeypatch.setattr(pictures, "decode_jpeg", None)
    data = encoded(photo(*size), quality=90)
    found = open_picture(data).scaled(least)
    if shape == (480, 640):
        assert torch.equal(found, open_picture(data).pixels())
    elif decoder == "Pillow":  # which has halves, quarters and eighths only
        assert found.shape[0] >= least[0]
        assert found.shape[1] >= least[1]
        assert found.shape[0] <= size[1] // 2 + 1
    else:
        assert least[0] <= found.shape[0] <= shape[0] * 1.6
        assert found.shape[0] <= size[1] // 2 + 1


@pytest.mark.parametrize("data", [encoded(photo(200, 160, "L")), encoded(photo(200, 160), "PNG")])
def test_what_is_no_coloured_jpeg_comes_whole(data: bytes) -> None:
    assert torch.equal(open_picture(data).scaled((10, 10)), open_picture(data).pixels())


def test_a_torn_jpeg_is_refused_as_before() -> None:
    data = encoded(photo(400, 300))
    with pytest.raises(OSError, match="truncated"):
        open_picture(data[: len(data) // 2]).scaled((20, 20))


def test_the_yaml_allows_it_and_the_note_tells_how_far_off_it_is() -> None:
    handler = Handler(SMALL, {"approximateResize": True})
    fused = handler._find_fusion()
    told = r"decoded at a fraction of their size, at most ([\d.]+) and on average ([\d.]+) levels off on 3 pictures$"
    levels = re.search(told, fused.note)
    assert levels, fused.note
    assert float(levels[2]) < 3.0 < 24.0
    row = {"body": encoded(photo(400, 300), quality=90)}
    found, expected = handler.preprocess([row, row]), Handler(SMALL).preprocess([row, row])
    assert found.shape == expected.shape
    assert not torch.equal(found, expected)
    assert float((found - expected).abs().mean()) < 0.2
    near = {"body": encoded(photo(60, 50), quality=90)}  # would not become half as large
    assert torch.equal(handler.preprocess([near]), Handler(SMALL).preprocess([near]))


@pytest.mark.parametrize(
    ("processing", "value", "note"),
    [
        (SMALL, False, r"on 6 pictures$|on 5 pictures$"),
        (SMALL, "yes", r"; approximateResize has no effect: it must be true or false, not 'yes'$"),
        (PIPELINES["tensor"], True, r"; approximateResize has no effect: the plan does not begin with a Resize"),
        (PIPELINES["own"], True, r"; approximateResize has no effect: the plan does not begin with a Resize"),
    ],
)
def test_where_it_has_no_effect(processing: Any, value: Any, note: str) -> None:
    found = fusion(processing, CPU, approximate=value)
    assert re.search(note, found.note), found.note
    assert found.fused is not None
    assert found.fused.source is Picture.pixels


def test_the_picture_is_never_smaller_than_what_it_is_resized_to() -> None:
    source = scaled_source(fusion(ImageClassifier.image_processing, CPU).fused.plan.fit)  # type: ignore[union-attr]
    for size in ((620, 520), (520, 620), (513, 512)):
        assert min(source(open_picture(encoded(photo(*size)))).shape[:2]) >= 256
