"""Files of the log: put aside by size and by day, compressed, counted; a disk that fails costs lines, never more."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from torchserve.core.logs.files import Console, LogFile
from torchserve.core.logs.rotation import Rotation

NOON = time.mktime((2020, 11, 23, 12, 0, 0, 0, 0, -1))
DAY = 86_400


def rotation(folder: Path, *, size: int | None = 10, keep: int = 5, name: str = "t.%d{dd-MMM}.log.gz") -> Rotation:
    return Rotation(f"{folder}/{name}", size=size, keep=keep)


def settle() -> None:
    """Wait until what was put aside is compressed."""
    for thread in threading.enumerate():
        if thread.name == "log-rotation":
            thread.join(30)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def unpacked(path: Path) -> str:
    with gzip.open(path, "rt") as file:
        return file.read()


@pytest.mark.parametrize(
    ("size", "last", "now", "due"),
    [
        (10, NOON, NOON, False),
        (11, NOON, NOON, True),
        (1, NOON, NOON + DAY, True),
        (1, NOON, NOON + DAY / 4, False),
        (1, NOON, NOON + 365 * DAY, True),
        (0, NOON, NOON + DAY, False),
    ],
)
def test_when_a_file_is_put_aside(tmp_path: Path, size: int, last: float, now: float, due: bool) -> None:
    assert rotation(tmp_path).due(size, last, now) is due


def test_neither_size_nor_day_means_never(tmp_path: Path) -> None:
    assert not Rotation(f"{tmp_path}/t.%i", size=None, daily=False).due(1 << 40, NOON, NOON + DAY)


@pytest.mark.parametrize(
    ("pattern", "number", "expected"),
    [
        ("t.%d{dd-MMM}.log.gz", 1, "t.23-Nov.log"),
        ("t.%d{dd-MMM}.log.gz", 3, "t.23-Nov-3.log"),
        ("t.log.%i", 2, "t.log.2"),
        ("t-%d{yyyy-MM-dd}-%02i.log", 1, "t-2020-11-23-1.log"),
        ("t.log.%d{yyyyMMddHHmmss}", 1, "t.log.20201123120000"),
        ("t", 2, "t-2"),
    ],
)
def test_what_a_file_is_called_then(tmp_path: Path, pattern: str, number: int, expected: str) -> None:
    assert rotation(tmp_path, name=pattern).name(NOON, number) == tmp_path / expected


def test_full_files_are_compressed_and_only_so_many_are_kept(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "t.log", rotation(tmp_path, keep=2))
    for number in range(5):
        file.write([f"line {number} is long\n"], NOON + number)
        settle()
        for path in tmp_path.glob("*.gz"):  # as if each had been written when its line was
            with gzip.open(path, "rt") as packed:
                at = NOON + int(packed.read().split()[1])
            os.utime(path, (at, at))
    file.close()
    assert (tmp_path / "t.log").read_text() == "line 4 is long\n"
    kept = sorted(unpacked(path) for path in tmp_path.glob("*.gz"))
    assert kept == ["line 2 is long\n", "line 3 is long\n"]
    assert len(names(tmp_path)) == 3


def test_a_new_day_begins_a_new_file(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "t.log", rotation(tmp_path, size=None))
    file.write(["one\n"], NOON)
    file.write(["two\n"], NOON + DAY)
    file.write(["three\n"], NOON + DAY)
    file.close()
    settle()
    assert names(tmp_path) == ["t.23-Nov.log.gz", "t.log"]
    assert unpacked(tmp_path / "t.23-Nov.log.gz") == "one\n"
    assert (tmp_path / "t.log").read_text() == "two\nthree\n"


def test_the_file_of_another_day_is_put_aside_by_the_next_server(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    path.write_text("old\n")
    os.utime(path, (NOON, NOON))
    file = LogFile(path, rotation(tmp_path, size=None))
    file.write(["new\n"], NOON + DAY)
    file.close()
    settle()
    assert unpacked(tmp_path / "t.23-Nov.log.gz") == "old\n"
    assert path.read_text() == "new\n"


def test_a_name_that_is_taken_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "t.23-Nov.log.gz").write_text("of this morning")
    file = LogFile(tmp_path / "t.log", rotation(tmp_path))
    file.write(["a long line\n"], NOON)
    file.write(["b\n"], NOON)
    file.close()
    settle()
    assert names(tmp_path) == ["t.23-Nov-2.log.gz", "t.23-Nov.log.gz", "t.log"]


def test_a_file_below_the_size_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "t.log"
    for text in ("one\n", "two\n"):
        file = LogFile(path, rotation(tmp_path / "deep"))
        file.write([text], time.time())
        file.close()
        file.close()
    assert path.read_text() == "one\ntwo\n"


def test_a_rotation_that_fails_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "in the way").touch()
    path = tmp_path / "t.log"
    file = LogFile(path, Rotation(f"{tmp_path}/in the way/t.%i", size=10))
    for text in ("a long line\n", "b\n", "c\n"):
        file.write([text], NOON)
    file.close()
    assert path.read_text() == "a long line\nb\nc\n"
    assert file.lost == 0


@pytest.mark.parametrize("what", ["full", "folder"])
def test_a_disk_that_takes_nothing_costs_the_lines_only(tmp_path: Path, what: str) -> None:
    path = tmp_path / "t.log"
    if what == "full":
        path.symlink_to("/dev/full")
    else:
        path.mkdir()
    file = LogFile(path)
    file.write(["one\n", "two\n"], NOON)
    file.write(["three\n"], NOON)
    file.close()
    assert file.lost == 3
    assert file.cause == {"full": "No space left on device", "folder": "Is a directory"}[what]


def test_a_file_that_has_room_again_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    path.symlink_to("/dev/full")
    file = LogFile(path)
    file.write(["one\n"], NOON)
    path.unlink()
    file.write(["two\n"], NOON)
    file.close()
    assert (path.read_text(), file.lost, file.cause) == ("two\n", 1, "")


FULL_AT = """
import resource, signal, sys
from pathlib import Path
from torchserve.core.logs.files import LogFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = LogFile(Path(sys.argv[1]))
file.write(["first\\n"], 0.0)
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
for size in map(int, sys.argv[2:]):
    limit(size)
    file.write(["second\\n", "third, of\\ntwo lines\\n", "fourth\\n"], 0.0)
limit(resource.RLIM_INFINITY)
file.write(["last\\n"], 0.0)
print(file.lost)
"""


@pytest.mark.parametrize(
    ("sizes", "lost", "text"),
    [
        ((6,), 3, "first\nlast\n"),
        ((9,), 3, "first\nsec\nlast\n"),
        ((13,), 2, "first\nsecond\nlast\n"),
        ((25,), 2, "first\nsecond\nthird, of\ntw\nlast\n"),
        ((33,), 1, "first\nsecond\nthird, of\ntwo lines\nlast\n"),
        ((39,), 1, "first\nsecond\nthird, of\ntwo lines\nfourth\nlast\n"),  # its line break alone was not taken
        ((9, 9, 9), 9, "first\nsec\nlast\n"),  # nothing of a failed write comes later
        ((9, 10, 10), 9, "first\nsec\nlast\n"),  # the line break behind a torn line is written once
    ],
)
def test_a_disk_that_fills_up_within_the_lines_loses_those_that_are_not_whole(
    tmp_path: Path, sizes: tuple[int, ...], lost: int, text: str
) -> None:
    path = tmp_path / "t.log"
    command = [sys.executable, "-c", FULL_AT, str(path), *map(str, sizes)]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (path.read_text(), said.stdout) == (text, f"{lost}\n")


@pytest.mark.parametrize("closed", [True, False])
def test_a_console_that_takes_nothing_is_no_problem(closed: bool) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    if closed:
        stream.close()
    console = Console(stream)
    console.write(["é\n", "two\n"], NOON)
    assert console.lost == 2
    assert console.cause


def test_a_console_whose_reader_has_gone_is_let_go_silently() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = open(writing, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  (a pipe has no path)
    console = Console(stream)
    for _ in range(2):
        console.write(["line\n"], NOON)
    assert (console.lost, console.cause) == (0, "")
    os.close(writing)
    with suppress(OSError):
        stream.close()


def test_what_is_no_text_is_shown_as_a_question_mark(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "t.log")
    file.write(["a\udc80b\n"], NOON)
    file.close()
    assert (tmp_path / "t.log").read_bytes() == b"a?b\n"


# ---- others put files aside: logrotate


def test_lines_go_to_the_file_that_is_at_the_path(tmp_path: Path) -> None:
    """`create` of logrotate renames a file and makes a new one; `nocreate` leaves that to us."""
    path = tmp_path / "t.log"
    file = LogFile(path)
    for number, makes_new in enumerate((True, False)):
        file.write([f"before {number}\n"], NOON)
        path.rename(tmp_path / f"t.log.{number}")
        if makes_new:
            path.touch(0o640)
        file.write([f"behind {number}\n"], NOON)
    file.close()
    assert (tmp_path / "t.log.0").read_text() == "before 0\n"
    assert (tmp_path / "t.log.1").read_text() == "behind 0\nbefore 1\n"
    assert path.read_text() == "behind 1\n"


def test_a_file_that_was_copied_and_cut_off_is_continued_at_its_new_end(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    file = LogFile(path, rotation(tmp_path, size=20))
    file.write(["a long first line that is over the size\n"], NOON)
    os.truncate(path, 0)  # copytruncate
    file.write(["one\n"], NOON)
    file.write(["two\n"], NOON)
    file.close()
    assert path.read_text() == "one\ntwo\n"
    assert names(tmp_path) == ["t.log"], "the size counts from the new end"


def test_a_file_that_was_moved_is_made_at_once_where_that_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    file = LogFile(path)
    file.create()
    path.rename(tmp_path / "old")
    file.create()
    file.close()
    assert names(tmp_path) == ["old", "t.log"]


def test_where_no_new_file_can_be_made_the_old_one_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    file = LogFile(path)
    file.write(["one\n"], NOON)
    path.rename(tmp_path / "old")
    path.mkdir()
    file.write(["two\n"], NOON)
    file.close()
    assert ((tmp_path / "old").read_text(), file.lost) == ("one\ntwo\n", 0)


def test_an_incomplete_line_of_the_file_before_has_no_end_in_the_next(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    file = LogFile(path)
    file.write(["one\n"], NOON)
    file._torn = True  # a full disk has taken a part of a line
    path.rename(tmp_path / "old")
    file.write(["two\n"], NOON)
    file.close()
    assert path.read_text() == "two\n"


def test_what_libraries_print_goes_to_the_new_file_too(tmp_path: Path) -> None:
    """A server in the background has its log as standard output and standard error."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from torchserve.core.logs.files import LogFile\n"
        "file = LogFile(Path('t.log'))\n"
        "file.write(['one\\n'], 0)\n"
        "os.write(1, b'printed\\n')\n"
        "os.rename('t.log', 'old')\n"
        "file.write(['two\\n'], 0)\n"
        "os.write(1, b'printed again\\n'); os.write(2, b'and an error\\n')\n"
    )
    with (tmp_path / "t.log").open("ab") as output:
        subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, stdout=output, stderr=output, check=True, timeout=60
        )
    assert (tmp_path / "old").read_text() == "one\nprinted\n"
    assert (tmp_path / "t.log").read_text() == "two\nprinted again\nand an error\n"
