"""Which files are believed: real files, FIFOs, links, folders and sockets, of us, root and others, in every mode.

As root the rows with another owner are run, too; a user who isn't root can't make those files.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from torchserve.core.trusted_file import (
    NotTrusted,
    check_folder,
    distrust,
    follow,
    open_appending,
    open_trusted,
    read_trusted,
    replace_file,
)

from ..descriptors import open_paths

ROOT = os.geteuid() == 0
OTHER = 54321 if ROOT else os.geteuid()  # a user who isn't us, where we may make files of theirs

Make = Callable[[Path], object]


def regular(mode: int = 0o644, owner: int | None = None, group: int | None = None) -> Make:
    def make(path: Path) -> None:
        path.write_bytes(b"text")
        if owner is not None or group is not None:
            os.chown(path, -1 if owner is None else owner, -1 if group is None else group)
        path.chmod(mode)

    return make


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def link_to_ours(path: Path) -> None:
    regular()(path.with_name("ours"))
    path.symlink_to("ours")


OURS = [regular(), regular(0o600), regular(0o400), regular(0o664, group=os.getegid())]
OF_NO_USE: list[tuple[Make, str]] = [
    (regular(0o646), "every user may write to it (mode 646)"),
    (regular(0o666), "every user may write to it (mode 666)"),
    (os.mkfifo, "it is a FIFO, not a regular file"),
    (Path.mkdir, "it is a folder, not a regular file"),
    (bound, "it is a socket, not a regular file"),
    (link_to_ours, "it is a symbolic link, not a regular file"),
    (lambda path: path.symlink_to("nowhere"), "it is a symbolic link, not a regular file"),
]
OF_OTHERS: list[tuple[Make, str]] = [
    (regular(0o644, OTHER), f"it belongs to user {OTHER}, and this process runs as user root (0)"),
    (regular(0o600, OTHER), f"it belongs to user {OTHER}, and this process runs as user root (0)"),
    (regular(0o644, OTHER, 0), f"it belongs to user {OTHER}, and this process runs as user root (0)"),
    (regular(0o664, 0, 54321), "group 54321, which this process is not in, may write to it (mode 664)"),
]
if ROOT:
    OF_NO_USE += OF_OTHERS


@pytest.mark.parametrize("make", OURS)
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT])
def test_what_is_believed(tmp_path: Path, make: Make, flags: int) -> None:
    path = tmp_path / "file"
    make(path)
    if flags & os.O_RDWR and not path.stat().st_mode & stat.S_IWUSR:
        path.chmod(0o600)
    assert distrust(path.lstat()) == ""
    assert read_trusted(path) == b"text"
    descriptor = open_trusted(path, flags)
    assert os.read(descriptor, 9) == b"text"
    os.close(descriptor)


@pytest.mark.parametrize(("make", "why"), OF_NO_USE)
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT])
def test_what_is_not_believed_and_hangs_nobody(tmp_path: Path, make: Make, why: str, flags: int) -> None:
    path = tmp_path / "file"
    make(path)
    assert distrust(path.lstat()) == why
    with pytest.raises(NotTrusted) as caught:
        open_trusted(path, flags)
    assert (caught.value.strerror, caught.value.filename) == (why, str(path))
    with pytest.raises(NotTrusted, match=re.escape(why)):
        read_trusted(path)
    assert open_paths(str(path)) == []


def test_what_is_not_there_is_no_matter_of_trust(tmp_path: Path) -> None:
    for ask in (open_trusted, read_trusted, follow, check_folder):
        with pytest.raises(FileNotFoundError):
            ask(tmp_path / "file")
    with pytest.raises(OSError, match="File name too long") as caught:
        open_trusted(tmp_path / ("x" * 300))
    assert not isinstance(caught.value, NotTrusted)


def test_a_device_and_a_file_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(NotTrusted, match="it is a device"):
        read_trusted(Path("/dev/zero"))
    regular()(tmp_path / "file")
    assert read_trusted(tmp_path / "file", 4) == b"text"
    with pytest.raises(NotTrusted, match="it is longer than 3 bytes"):
        read_trusted(tmp_path / "file", 3)


def test_a_second_name_is_not_written_to(tmp_path: Path) -> None:
    regular()(tmp_path / "victim")
    (tmp_path / "file").hardlink_to(tmp_path / "victim")
    assert read_trusted(tmp_path / "file") == b"text"
    with pytest.raises(NotTrusted, match="a second name, by a hard link"):
        open_trusted(tmp_path / "file", os.O_RDWR | os.O_CREAT)


@pytest.mark.parametrize(
    ("mode", "owner", "why"),
    [
        (0o755, 0, ""),
        (0o1777, 0, ""),
        (0o770, 0, ""),
        (0o777, 0, "every user may write to it (mode 777)"),
        (0o700, OTHER, "" if not ROOT else f"it belongs to user {OTHER}, and this process runs as user root (0)"),
        (0o1777, OTHER, "" if not ROOT else f"it belongs to user {OTHER}, and this process runs as user root (0)"),
    ],
)
def test_folders(tmp_path: Path, mode: int, owner: int, why: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if ROOT:
        os.chown(folder, owner, 0)
    folder.chmod(mode)
    if why:
        with pytest.raises(NotTrusted, match=re.escape(why)):
            check_folder(folder)
    else:
        check_folder(folder)
    (tmp_path / "link").symlink_to("folder")
    with pytest.raises(NotTrusted, match="it is a symbolic link, not a folder"):
        check_folder(tmp_path / "link")


def test_only_links_of_ours_are_followed(tmp_path: Path) -> None:
    link_to_ours(tmp_path / "link")
    assert follow(tmp_path / "link") == tmp_path / "ours"
    assert follow(tmp_path / "ours") == tmp_path / "ours"
    if ROOT:
        os.lchown(tmp_path / "link", OTHER, OTHER)
        with pytest.raises(NotTrusted, match=f"it is a symbolic link of user {OTHER}"):
            follow(tmp_path / "link")


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_log_goes_through_no_link_of_others(tmp_path: Path, place: str) -> None:
    victim = tmp_path / "etc"
    victim.mkdir()
    (victim / "ts_log.log").write_text("precious\n")
    logs = tmp_path / "logs"
    link = logs
    if place == "file":
        logs.mkdir()
        link = logs / "ts_log.log"
        link.symlink_to(victim / "ts_log.log")
    else:
        logs.symlink_to("etc")
    descriptor = open_appending(logs / "ts_log.log")
    os.write(descriptor, b"a line\n")
    os.close(descriptor)
    assert (victim / "ts_log.log").read_text() == "precious\na line\n", "our own link is meant"
    if ROOT:
        os.lchown(link, OTHER, OTHER)
        with pytest.raises(NotTrusted, match=f"it is a symbolic link of user {OTHER}"):
            open_appending(logs / "ts_log.log")


def test_a_log_may_be_a_device_a_fifo_with_a_reader_or_others_own_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match=os.strerror(errno.ENXIO)):
        open_appending(tmp_path / "fifo")  # nobody reads it, and nobody is waited for
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    regular(0o644, OTHER)(tmp_path / "theirs")
    (tmp_path / "link").symlink_to("/dev/null")
    for path in (tmp_path / "fifo", Path("/dev/null"), tmp_path / "link", tmp_path / "theirs", tmp_path / "new"):
        os.close(open_appending(path))
    os.close(reader)


def test_a_second_name_of_a_file_in_a_folder_of_everybody_is_no_log(tmp_path: Path) -> None:
    regular()(tmp_path / "victim")
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "log").hardlink_to(tmp_path / "victim")
    os.close(open_appending(folder / "log"))
    folder.chmod(0o1777)
    with pytest.raises(NotTrusted, match="a second name, by a hard link"):
        open_appending(folder / "log")


@pytest.mark.parametrize("make", [regular(), regular(0o666, OTHER), os.mkfifo, link_to_ours, bound])
def test_a_file_is_replaced_whatever_is_there(tmp_path: Path, make: Make) -> None:
    path = tmp_path / "file"
    make(path)
    before = {each.name for each in tmp_path.iterdir()}
    replace_file(path, b"new", 0o640)
    assert read_trusted(path) == b"new"
    assert stat.S_IMODE(path.lstat().st_mode) & 0o640 == stat.S_IMODE(path.lstat().st_mode)
    assert {each.name for each in tmp_path.iterdir()} == before, "no draft is left"
    if "ours" in before:
        assert (tmp_path / "ours").read_bytes() == b"text"


def test_a_failed_replacement_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        replace_file(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
