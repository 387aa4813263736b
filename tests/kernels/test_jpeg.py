"""JPEGs that the device decodes: a stand-in for nvJPEG on a pretended GPU, what it refuses, and what a plan says of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from simplejpeg import decode_jpeg
from torch import Tensor
from torchvision import transforms

from torchserve.core.handlers.image_classifier import ImageClassifier
from torchserve.core.handlers.images.fused_images import Fusion, fusion
from torchserve.core.handlers.images.pictures import Picture
from torchserve.kernels import pipeline
from torchserve.kernels.graphs import answer_of
from torchserve.kernels.jpeg import Decode, Jpeg, Source, decoded
from torchserve.kernels.load import placed
from torchserve.kernels.pipeline import ImagePipeline, prepare, record_images
from torchserve.kernels.resize_normalize import Fit

from .simulated import Event, Gpu, Stream, gpu
from .test_graphs import negative
from .test_pipeline import CUDA, FIT, HALF, SOURCE, by_tables, expected, pictures, planted

REFUSED = 0


def jpeg(picture: Tensor, *, refused: bool = False, told: list[str] | None = None) -> Jpeg:
    """Its size and its bytes are what it is encoded to."""
    height, width, _ = picture.shape
    data = bytes([REFUSED if refused else height, width]) + picture.numpy().tobytes()

    def otherwise(why: Exception) -> Tensor:
        if told is not None:
            told.append(str(why))
        return picture.clone()

    return Jpeg(data, (height, width), otherwise)


class Decoder:
    """In nvJPEG's place: its stream waits for nobody, and the current one for it."""

    def __init__(self, device: Gpu) -> None:
        self.device = device
        self.stream: Stream = device.stream_made()
        self.calls: list[int] = []

    def __call__(self, encoded: list[Tensor], device: torch.device) -> list[Tensor]:
        self.calls.append(len(encoded))
        if any(data[0] == REFUSED for data in encoded):
            raise RuntimeError("not one of mine")
        made = [torch.empty((3, int(data[0]), int(data[1])), dtype=torch.uint8, device=device) for data in encoded]
        with torch.cuda.stream(self.stream):
            for out, data in zip(made, encoded, strict=True):
                self.device.late(write)(out, data)
        done = Event()
        done.record(self.stream)
        self.device.current.wait_event(done)
        return made


def write(out: Tensor, data: Tensor) -> None:
    out.copy_(data[2:].view(*out.shape[1:], 3).permute(2, 0, 1))


def mixed(number: int) -> tuple[list[Source], list[Tensor]]:
    """Pictures of the host, of the device, and such as it refuses, in another order for each number."""
    batch = [*pictures(number), *pictures(number + 3)]
    kinds = [lambda picture: picture, jpeg, lambda picture: jpeg(picture, refused=True)]
    return [kinds[(number + place) % 3](picture) for place, picture in enumerate(batch)], batch


def served(device: Gpu, module: Any) -> list[bool]:
    subject = module.ImagePipeline(CUDA, device.late(by_tables), Decoder(device))
    asked, answers = [], []
    for number in range(7):
        sources, batch = mixed(number)
        asked.append(expected(batch))
        answers.append(subject.download(subject.batch(sources, FIT, HALF, HALF)))
    return [torch.allclose(pending.wait(), wanted, atol=1e-5) for pending, wanted in zip(answers, asked, strict=True)]


def test_every_picture_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with gpu(monkeypatch) as device:
        assert served(device, pipeline) == [True] * 7


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("with torch.cuda.stream(self._copying):\n            return", "if True:\n            return"),
        ("            self._copying.wait_event(slot.read)\n", ""),
        ("        torch.cuda.current_stream(self.device).wait_event(slot.uploaded)\n", ""),
    ],
)
def test_a_wait_is_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, right: str, wrong: str) -> None:
    assert SOURCE.count(right) == 1
    module = planted(SOURCE.replace(right, wrong), tmp_path, monkeypatch)
    with gpu(monkeypatch) as device:
        try:
            answers = served(device, module)
        except (IndexError, ValueError):  # from tables full of poison
            return
    assert False in answers


def test_what_was_decoded_is_kept_until_it_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What decodes the next pictures waits for nothing, and would write into memory that was let go."""
    made: list[int] = []
    with gpu(monkeypatch) as device:
        decoder = Decoder(device)

        def decode(encoded: list[Tensor], on: torch.device) -> list[Tensor]:
            answer = decoder(encoded, on)
            made.append(answer[0].data_ptr())
            return answer

        subject = ImagePipeline(CUDA, device.late(by_tables), decode)
        for number in (0, 2):
            subject.batch([jpeg(each) for each in pictures(number)], FIT, HALF, HALF)
        assert [slot.decoded[0].untyped_storage().data_ptr() for slot in subject._slots] == made
        subject.batch(pictures(4), FIT, HALF, HALF)
        assert [len(slot.decoded) for slot in subject._slots] == [0, 1]


def test_with_the_model_in_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    with gpu(monkeypatch) as device:
        subject = ImagePipeline(CUDA, device.late(by_tables), Decoder(device))
        monkeypatch.setattr(pipeline, "_pipeline", {CUDA: subject}.__getitem__)
        graphs = record_images(CUDA, (12, 14), HALF, HALF, (1, 2, 4), negative(device))
        asked, answers = [], []
        for number in range(5):
            sources, batch = mixed(number)
            asked.append(-expected(batch))
            made = prepare(sources, FIT, HALF, HALF, filter="bilinear", device=CUDA, graphs=graphs)
            answers.append(subject.download(answer_of(made)))
        for pending, wanted in zip(answers, asked, strict=True):
            torch.testing.assert_close(pending.wait(), wanted, atol=1e-5, rtol=0)


def test_a_batch_that_no_graph_holds_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_ROOM", 1 << 12)
    with gpu(monkeypatch) as device:
        decoder = Decoder(device)
        subject = ImagePipeline(CUDA, device.late(by_tables), decoder)
        monkeypatch.setattr(pipeline, "_pipeline", {CUDA: subject}.__getitem__)
        graphs = record_images(CUDA, (12, 14), HALF, HALF, (1,), negative(device))
        picture = torch.full((90, 120, 3), 9, dtype=torch.uint8)
        made = prepare([jpeg(picture)], FIT, HALF, HALF, filter="bilinear", device=CUDA, graphs=graphs)
        device.finish()
        assert answer_of(made) is None
        assert decoder.calls == [1]
        torch.testing.assert_close(made, expected([picture]), atol=1e-5, rtol=0)


def test_what_the_device_decodes_lies_behind_what_the_host_sends() -> None:
    sources: list[Source] = [jpeg(pictures(0)[0]), pictures(2)[0], jpeg(pictures(4)[0]), pictures(6)[0]]
    frames = placed(sources, Fit(), 3, "bilinear")
    sizes = [20 * 30 * 3, 22 * 30 * 3, 24 * 30 * 3, 26 * 30 * 3]
    assert [frame.offset for frame in frames] == [sizes[1] + sizes[3], 0, sizes[1] + sizes[3] + sizes[0], sizes[1]]


def at_once(encoded: list[Tensor], device: torch.device) -> list[Tensor]:
    if any(data[0] == REFUSED for data in encoded):
        raise RuntimeError("not one of mine")
    made = [torch.empty((3, int(data[0]), int(data[1])), dtype=torch.uint8, device=device) for data in encoded]
    for out, data in zip(made, encoded, strict=True):
        write(out, data)
    return made


def another_shape(encoded: list[Tensor], device: torch.device) -> list[Tensor]:
    return [torch.zeros((3, 5, 6), dtype=torch.uint8, device=device) for _ in encoded]


@pytest.mark.parametrize(
    ("decode", "refused", "there", "told"),
    [
        (at_once, (), {0, 1, 2}, []),
        (at_once, (1,), {0, 2}, ["not one of mine"]),
        (at_once, (0, 1, 2), set[int](), ["not one of mine"] * 3),
        (another_shape, (), set[int](), ["it came out as [3, 5, 6]"] * 3),
    ],
)
def test_what_is_refused_is_decoded_by_the_host(
    decode: Decode, refused: Sequence[int], there: set[int], told: list[str]
) -> None:
    batch, heard = [pictures(number)[0] for number in (0, 2, 4)], list[str]()
    sources = [jpeg(picture, refused=number in refused, told=heard) for number, picture in enumerate(batch)]
    pixels, on_device = decoded(sources, torch.device("cpu"), decode)
    assert (on_device, heard) == (there, told)
    assert all(torch.equal(made, picture) for made, picture in zip(pixels, batch, strict=True))


def test_on_a_cpu_the_host_decodes() -> None:
    told: list[str] = []
    batch = pictures(1)
    sources: list[Source] = [jpeg(batch[0], told=told), batch[1]]
    made = prepare(sources, FIT, HALF, HALF, filter="bilinear", device=torch.device("cpu"))
    assert torch.equal(made, prepare(batch, FIT, HALF, HALF, filter="bilinear", device=torch.device("cpu")))
    assert told == ["the model runs on cpu"]


# ---- the note on a plan


IMAGENET = ImageClassifier.image_processing
ON_ITS_HEAD = transforms.Compose([transforms.Grayscale(3), *IMAGENET.transforms])


def quickly(encoded: list[Tensor], device: torch.device) -> list[Tensor]:
    """As a decoder with another upsampling does."""
    del device
    made = [decode_jpeg(data.numpy().tobytes(), fastdct=True, fastupsample=True) for data in encoded]
    return [torch.from_numpy(pixels).permute(2, 0, 1).contiguous() for pixels in made]


def wildly(encoded: list[Tensor], device: torch.device) -> list[Tensor]:
    return [255 - pixels for pixels in quickly(encoded, device)]


def refusing(encoded: list[Tensor], device: torch.device) -> list[Tensor]:
    raise RuntimeError(f"compiled without nvJPEG, {len(encoded)} for {device}")


def planned(monkeypatch: pytest.MonkeyPatch, decode: Decode, gpu_jpeg: Any, processing: Any = IMAGENET) -> Fusion:
    """What is found on a device that does everything when its kernel is launched."""
    with gpu(monkeypatch) as device:

        def launch(*arguments: Any, out: Tensor) -> None:
            device.finish()
            by_tables(*arguments, out=out)

        monkeypatch.setattr(pipeline, "_pipeline", {CUDA: ImagePipeline(CUDA, launch, decode)}.__getitem__)
        return fusion(processing, CUDA, gpu_jpeg=gpu_jpeg)


@pytest.mark.parametrize(
    ("decode", "gpu_jpeg", "processing", "note"),
    [
        (quickly, False, IMAGENET, r"on 5 pictures$"),
        (quickly, "yes", IMAGENET, r"; gpuJpeg has no effect: it must be true or false, not 'yes'$"),
        (quickly, True, ON_ITS_HEAD, r"; gpuJpeg has no effect: the plan takes no coloured JPEG as it comes$"),
        (refusing, True, IMAGENET, r"; gpuJpeg has no effect: RuntimeError: compiled without nvJPEG, 1 for cuda:0$"),
        (another_shape, True, IMAGENET, r"; gpuJpeg has no effect: it came out as \[3, 5, 6\]$"),
        (wildly, True, IMAGENET, r"; gpuJpeg has no effect: the device's pixels are [\d.]+ levels off on average$"),
    ],
)
def test_the_host_goes_on_decoding(
    monkeypatch: pytest.MonkeyPatch, decode: Decode, gpu_jpeg: Any, processing: Any, note: str
) -> None:
    found = planned(monkeypatch, decode, gpu_jpeg, processing)
    assert re.search(note, found.note), found.note
    assert found.note.startswith("fused: ")
    assert found.fused is not None
    assert found.fused.source is Picture.pixels


def test_the_device_decodes_and_the_note_tells_how_far_off_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    found = planned(monkeypatch, quickly, True)
    told = r"; JPEGs decoded by the device, at most ([\d.]+) and on average ([\d.]+) levels off on 5 pictures of noise$"
    levels = re.search(told, found.note)
    assert levels, found.note
    assert 1 < float(levels[2]) < 24 < float(levels[1])  # more than a plan may be, and not wild
    assert found.fused is not None
    assert found.fused.source is Picture.for_device


def test_on_a_cpu_it_has_no_effect() -> None:
    found = fusion(IMAGENET, torch.device("cpu"), gpu_jpeg=True)
    assert found.note.endswith("; gpuJpeg has no effect: the model runs on cpu")
    assert found.fused is not None
    assert found.fused.source is Picture.pixels


def test_the_yaml_asks_for_it() -> None:
    handler = ImageClassifier()
    handler.device = torch.device("cpu")
    handler.context = SimpleNamespace(model_yaml_config={"gpuJpeg": True}, notes={}, system_properties={})
    assert handler._find_fusion().note.endswith("; gpuJpeg has no effect: the model runs on cpu")
