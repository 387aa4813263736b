"""ModelCache: files arrive whole or not at all, stay where they belong, and are removed when nobody needs them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from torchserve.core.backend.model_cache import KEPT, BadFiles, ModelCache
from torchserve.core.payload import Body
from torchserve.core.wire.remote_messages import Piece
from torchserve.core.workers.remote.model_files import ModelFiles, read_model_files


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    folder = tmp_path / "model"
    (folder / "deep/er").mkdir(parents=True)
    (folder / "empty").touch()
    (folder / "deep/er/large").write_bytes(os.urandom((1 << 20) + 5))
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("run.sh")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/x.pyc").touch()
    os.mkfifo(folder / "fifo")
    return read_model_files(folder)


def never() -> Iterator[tuple[Piece, Body]]:
    raise AssertionError("they are here")


def test_files_arrive_as_they_are_and_once(files: ModelFiles, tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "cache")
    place, lock = cache.obtain(files.digest, files.pieces)
    again, second = cache.obtain(files.digest, never)
    assert place == again
    found = read_model_files(place)
    assert found.digest == files.digest
    assert [path for path, _ in found.files] == ["deep/er/large", "empty", "link", "run.sh"]
    assert os.access(place / "run.sh", os.X_OK)
    assert (place / "empty").stat().st_mode & 0o777 == 0o444, "the digest stays true"
    os.close(lock)
    os.close(second)


@pytest.mark.parametrize("path", ["../out", "/etc/x", "a/../../b", "", "a//b", "nul\0"])
def test_a_path_out_of_the_folder_is_refused(path: str, tmp_path: Path) -> None:
    pieces = iter([(Piece("first"), b""), (Piece(path or "./x"), b"x"), (Piece(end=True), b"")])
    with pytest.raises(BadFiles, match="leads out of the model's folder"):
        ModelCache(tmp_path / "cache").obtain("d", lambda: pieces)
    assert not [each for each in (tmp_path / "cache").iterdir() if each.is_dir()]


def test_files_that_were_cut_or_changed_leave_nothing(files: ModelFiles, tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "cache")
    with pytest.raises(BadFiles, match="not sent to their end"):
        cache.obtain(files.digest, lambda: iter(list(files.pieces())[:-1]))
    with pytest.raises(BadFiles, match="they changed while they were sent"):
        cache.obtain(files.digest, lambda: iter(list(files.pieces())[1:]))
    assert not [each for each in (tmp_path / "cache").iterdir() if each.is_dir()]


def test_models_that_nobody_uses_are_kept_up_to_a_number(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "cache")
    digests: list[str] = []
    held = -1
    for number in range(KEPT + 3):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "name").write_text(str(number))
        found = read_model_files(folder)
        place, lock = cache.obtain(found.digest, found.pieces)
        os.utime(place, (number, number))
        digests.append(found.digest)
        if number == 0:
            held = lock
        else:
            os.close(lock)
    left = {each.name for each in (tmp_path / "cache").iterdir() if each.is_dir()}
    assert digests[0] in left, "a worker uses it"
    assert digests[1] not in left
    assert digests[-1] in left
    os.close(held)
