"""The digit reader in examples/digits, through its own handler and committed weights, without a server."""

from __future__ import annotations

import base64
import importlib
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ts.context import Context, RequestProcessor

HERE = Path(__file__).resolve().parents[2] / "examples" / "digits"
SAMPLES = sorted((HERE / "samples").iterdir())
OWN_MODULES = ("handler", "ink", "model", "evaluate")


@pytest.fixture(scope="module")
def folder() -> Iterator[None]:
    """The example's folder in front of the import path, as a worker has it; nothing of it stays behind."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    sys.path.insert(0, str(HERE))
    yield
    sys.path.remove(str(HERE))
    for name in OWN_MODULES:
        sys.modules.pop(name, None)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def ink(folder: None) -> ModuleType:
    return importlib.import_module("ink")


class Reader:
    def __init__(self) -> None:
        manifest = {"model": {"modelName": "digits", "modelFile": "model.py", "serializedFile": "digits.pt"}}
        self.context = Context("digits", str(HERE), manifest, 8, None, "0.12.0")
        self.handler = importlib.import_module("handler").DigitHandler()
        self.handler.initialize(self.context)

    def read(self, rows: Sequence[dict[str, Any]]) -> tuple[list[int], list[dict[str, Any]]]:
        """The statuses and the answers of one batch."""
        self.context.request_ids = {index: str(index) for index in range(len(rows))}
        self.context.request_processor = [RequestProcessor({}) for _ in rows]
        answers = self.handler.handle(list(rows), self.context)
        json.dumps(answers)
        return [self.context.get_response_status(index)[0] for index in range(len(rows))], answers


@pytest.fixture(scope="module")
def reader(folder: None) -> Reader:
    return Reader()


def encoded(pixels: np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def seven() -> np.ndarray:
    """The seven of a sample, 400x400, made white on black."""
    with Image.open(HERE / "samples" / "7-black-on-white.png") as image:
        return 255 - np.asarray(image)


def test_the_weights_are_small() -> None:
    assert (HERE / "digits.pt").stat().st_size <= 300_000


def test_the_samples_show_every_digit_in_both_polarities_and_formats() -> None:
    names = [path.name for path in SAMPLES]
    assert {name[0] for name in names} == set("0123456789")
    for part in ("white-on-black", "black-on-white", ".png", ".jpg"):
        assert any(part in name for name in names), part


def test_the_samples_are_read_right_in_one_batch(reader: Reader) -> None:
    statuses, answers = reader.read([{"body": bytearray(path.read_bytes())} for path in SAMPLES])
    assert [answer["digit"] for answer in answers] == [int(path.name[0]) for path in SAMPLES]
    assert set(statuses) == {200}


def test_an_answer_names_the_digit_and_shares_out_the_probability(reader: Reader) -> None:
    _, [answer] = reader.read([{"data": encoded(seven())}])
    assert list(answer) == ["digit", "name", "probability", "probabilities"]
    assert (answer["digit"], answer["name"]) == (7, "seven")
    assert answer["probability"] == answer["probabilities"]["7"] > 0.8
    assert list(answer["probabilities"]) == list("0123456789")
    assert sum(answer["probabilities"].values()) == pytest.approx(1.0, abs=1e-4)


def test_held_out_digits_are_read_whatever_the_size_and_the_polarity(reader: Reader) -> None:
    evaluate = importlib.import_module("evaluate")
    training, _, images, labels = evaluate.split()
    assert not {image.tobytes() for image in training} & {image.tobytes() for image in images}
    images, labels = images[::3], labels[::3]  # 128 of them, for time
    model = evaluate.load(HERE / "digits.pt")
    for size, dark_on_light, form in (((8, 8), False, "PNG"), ((64, 64), True, "JPEG"), ((200, 120), True, "PNG")):
        files = [evaluate.render(image, size, dark_on_light=dark_on_light, form=form) for image in images]
        assert evaluate.accuracy(model, files, labels) > 0.97, (size, dark_on_light, form)


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(lambda white: white, id="white on black"),
        pytest.param(lambda white: 255 - white, id="black on white"),
        pytest.param(lambda white: (100 + white.astype(float) * 0.1).astype(np.uint8), id="faint"),
        pytest.param(lambda white: np.stack([white, 0 * white, 255 - white], axis=2), id="red on blue"),
        pytest.param(lambda white: np.stack([255 - white, 255 - white, white * 0, white], axis=2), id="on transparent"),
        pytest.param(lambda white: white.astype(np.uint16) * 200, id="16 bit"),
        pytest.param(lambda white: white > 127, id="1 bit"),
        pytest.param(lambda white: np.pad(white[::8, ::8], ((700, 20), (30, 900))), id="small, in a corner"),
        pytest.param(
            lambda white: (255 - np.linspace(0, 120, 400)[:, None] - white * 0.5).clip(0, 255).astype(np.uint8),
            id="unevenly lit paper",
        ),
    ],
)
def test_one_seven_in_many_pictures(reader: Reader, pixels: Any) -> None:
    _, [answer] = reader.read([{"body": encoded(pixels(seven()))}])
    assert answer["digit"] == 7


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_every_promised_format_is_read(reader: Reader, form: str) -> None:
    _, [answer] = reader.read([{"body": encoded(seven(), form)}])
    assert answer["digit"] == 7


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(lambda png: {"data": bytearray(png)}, id="form field data"),
        pytest.param(lambda png: {"picture": png}, id="form field of another name"),
        pytest.param(lambda png: {"body": base64.b64encode(png).decode()}, id="base64 text"),
        pytest.param(lambda png: {"body": "data:image/png;base64," + base64.b64encode(png).decode()}, id="data URL"),
        pytest.param(lambda png: {"body": {"image": base64.b64encode(png).decode()}}, id="JSON"),
    ],
)
def test_the_picture_may_come_in_several_ways(reader: Reader, row: Any) -> None:
    _, [answer] = reader.read([row(encoded(seven()))])
    assert answer["digit"] == 7


def huge_png() -> bytes:
    """A few kilobytes that would decode to 36 million pixels."""
    return encoded(np.zeros((6000, 6000), np.uint8))


def bomb_png() -> bytes:
    """A PNG that says it has 900 million pixels, more than Pillow itself opens."""
    png = bytearray(encoded(np.zeros((1, 1), np.uint8)))
    png[16:24] = struct.pack(">II", 30_000, 30_000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    return bytes(png)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param(lambda: {"body": b"not a picture"}, "not an image in a known format", id="no picture"),
        pytest.param(lambda: {"body": encoded(seven())[:900]}, "the PNG image is damaged", id="cut PNG"),
        pytest.param(lambda: {"body": encoded(seven(), "JPEG")[:900]}, "the JPEG image is damaged", id="cut JPEG"),
        pytest.param(lambda: {"body": huge_png()}, "the image is 6000x6000 pixels; at most", id="huge"),
        pytest.param(lambda: {"body": bomb_png()}, "the image is too large; at most", id="a bomb"),
        pytest.param(lambda: {"body": encoded(np.full((9, 9), 77, np.uint8))}, "nothing is drawn", id="blank"),
        pytest.param(lambda: {"body": encoded(np.zeros((1, 1), np.uint8))}, "nothing is drawn", id="one pixel"),
        pytest.param(lambda: {"body": bytearray()}, "the request has no image", id="empty body"),
        pytest.param(dict, "the request has no image", id="no body"),
        pytest.param(lambda: {"body": "%%%"}, "the text sent is not base64", id="other text"),
        pytest.param(lambda: {"body": {"image": 3}}, "not JSON of type int", id="other JSON"),
        pytest.param(lambda: {"body": [1, 2]}, "not JSON of type list", id="a list"),
    ],
)
def test_a_bad_picture_is_refused_and_its_neighbours_are_read(reader: Reader, row: Any, message: str) -> None:
    good = {"body": encoded(seven())}
    statuses, answers = reader.read([good, row(), good])
    assert statuses == [200, 400, 200]
    assert [answers[0]["digit"], answers[2]["digit"]] == [7, 7]
    assert (answers[1]["code"], answers[1]["type"]) == (400, "BadRequestException")
    assert message in answers[1]["message"]


def test_a_batch_is_answered_as_its_pictures_alone(reader: Reader) -> None:
    rows = [{"body": path.read_bytes()} for path in SAMPLES[:8]]
    _, together = reader.read(rows)
    for row, answer in zip(rows, together, strict=True):
        _, [alone] = reader.read([row])
        assert alone["digit"] == answer["digit"]
        assert alone["probability"] == pytest.approx(answer["probability"], abs=1e-4)


def test_the_ink_map_is_mnists(ink: ModuleType) -> None:
    """The longer side is 20 of 28 pixels and the centre of mass is in the middle."""
    field = np.zeros((300, 90, 1), np.float32)
    field[40:240, 30:50] = 255.0
    mapped = ink.normalise(field)
    rows, columns = np.flatnonzero(mapped.max(axis=1) > 0.5), np.flatnonzero(mapped.max(axis=0) > 0.5)
    assert (len(rows), len(columns)) == (20, 2)
    assert (rows[0], columns[0]) == (4, 13)
    assert np.array_equal(mapped, ink.normalise(255.0 - field))


def test_the_archive_holds_all_that_serving_needs(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run([HERE / "pack.sh", tmp_path], env={**os.environ, "PATH": path}, check=True, capture_output=True)
    with zipfile.ZipFile(tmp_path / "digits.mar") as archive:
        names = set(archive.namelist())
    assert names >= {"model.py", "digits.pt", "handler.py", "ink.py", "index_to_name.json", "model-config.yaml"}
