"""KeyFile: for its owner alone from the first byte, replaced as a whole, removed by the server that wrote it."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from torchserve.core.errors import InvalidConfig
from torchserve.core.key_file import NAME, KeyFile


@pytest.fixture
def wide_umask() -> object:
    before = os.umask(0)
    yield None
    os.umask(before)


def test_only_its_owner_can_read_it_whatever_the_umask(tmp_path: Path, wide_umask: object) -> None:
    file = KeyFile(tmp_path)
    for text in (b"one", b"two"):
        file.write(text)
        assert file.path.read_bytes() == text
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_file_that_others_could_read_is_replaced_not_filled(tmp_path: Path) -> None:
    old = tmp_path / NAME
    old.write_bytes(b"old")
    old.chmod(0o666)
    with old.open("rb") as held:
        KeyFile(tmp_path).write(b"keys")
        assert held.read() == b"old"
    assert stat.S_IMODE(old.stat().st_mode) == 0o600


def test_a_link_in_its_place_is_replaced_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"mine")
    (tmp_path / NAME).symlink_to(target)
    KeyFile(tmp_path).write(b"keys")
    assert target.read_bytes() == b"mine"
    assert not (tmp_path / NAME).is_symlink()


def test_a_reader_never_sees_half_of_it(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    texts = [bytes([letter]) * 50_000 for letter in b"ab"]
    file.write(texts[0])
    done = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(file.path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(200):
        file.write(texts[i % 2])
    done.set()
    reader.join()
    assert seen <= set(texts)


def test_remove(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    file.remove()
    file.write(b"mine")
    file.remove()
    assert not file.path.exists()
    file.remove()


def test_a_file_that_another_server_wrote_meanwhile_stays(tmp_path: Path) -> None:
    file, other = KeyFile(tmp_path), KeyFile(tmp_path)
    file.write(b"mine")
    other.write(b"theirs")
    file.remove()
    assert other.path.read_bytes() == b"theirs"


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "x").touch()
    with pytest.raises(OSError):
        file.write(b"keys")
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_folder_that_can_not_be_written_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"gone/key_file.json: No such file.*--disable-token-auth"):
        KeyFile(tmp_path / "gone").create(b"keys")


def test_a_fifo_in_its_place_does_not_hang_the_end(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    file.write(b"mine")
    file.path.unlink()
    os.mkfifo(file.path)
    file.remove()
    assert stat.S_ISFIFO(file.path.stat().st_mode)
