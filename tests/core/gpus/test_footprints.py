from __future__ import annotations

import json
from pathlib import Path

import pytest

from torchserve.core.gpus.footprints import CONTEXT, Footprints, fingerprint, need_of, weights_size

GIB = 1 << 30


@pytest.mark.parametrize(
    ("declared", "measured", "weights", "promise", "least"),
    [
        (3 * GIB, 9 * GIB, GIB, 3 * GIB, 3 * GIB),
        (None, 9 * GIB, GIB, 9 * GIB, 9 * GIB),
        (None, None, 10 * GIB, 12 * GIB + CONTEXT, 5 * GIB + CONTEXT),  # it may be loaded in half precision
        (None, None, 0, CONTEXT, CONTEXT),
    ],
)
def test_need(declared: int | None, measured: int | None, weights: int, promise: int, least: int):
    need = need_of(declared, measured, weights)
    assert (need.promise, need.least) == (promise, least)


def test_the_largest_ever_measured_is_kept(tmp_path: Path):
    path = tmp_path / "cache" / "gpu-memory.json"
    footprints = Footprints(path)
    assert footprints.recall("a") is None
    for measured in (5, 9, 7):
        footprints.remember("a", measured)
    assert Footprints(path).recall("a") == 9
    assert [each.name for each in path.parent.iterdir()] == ["gpu-memory.json"]


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"a": "much"}'])
def test_a_broken_file_is_as_none(tmp_path: Path, text: str):
    path = tmp_path / "gpu-memory.json"
    path.write_text(text)
    assert Footprints(path).recall("a") is None


def test_a_folder_that_can_t_be_written_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "file").write_text("")
    Footprints(tmp_path / "file" / "x.json").remember("a", 1)
    assert "not kept" in caplog.text


def test_fingerprint_and_weights(tmp_path: Path):
    (tmp_path / "model.pt").write_bytes(b"x" * 3_000_000)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "more.safetensors").write_bytes(b"x" * 10)
    (tmp_path / "handler.py").write_text("a = 1")
    assert weights_size(tmp_path) == 3_000_010
    first = fingerprint(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.pyc").write_text("y")
    assert fingerprint(tmp_path) == first
    (tmp_path / "handler.py").write_text("a = 2")
    assert fingerprint(tmp_path) != first


def test_the_oldest_measurements_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torchserve.core.gpus.footprints._KEPT", 2)
    footprints = Footprints(tmp_path / "x.json")
    for key, measured in [("a", 1), ("b", 1), ("a", 2), ("c", 1)]:
        footprints.remember(key, measured)
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 2, "c": 1}
