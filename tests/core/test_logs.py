"""The log streams: TorchServe's lines in TorchServe's files, and nothing that a disk or an entry does hurts a caller."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from torchserve.core.logs import (
    BACKLOG,
    KEEP,
    ROTATE_AT,
    LogStream,
    LogWriter,
    log_folder,
    log_worker_line,
    open_logs,
    timestamp,
)

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{3} (.*)")


@contextmanager
def logging_to(folder: Path, *, console: bool = False) -> Iterator[LogWriter]:
    """open_logs for the time of a test; what it hears is written when this ends."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    writer = open_logs(folder, console=console)
    try:
        yield writer
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = handlers
        root.setLevel(level)
        writer.close()


def texts(path: Path) -> list[str]:
    """The lines of a log without their time, which must be there."""
    found = [LINE.fullmatch(line) for line in path.read_text().splitlines()]
    assert all(found)
    return [match[1] for match in found if match]


def test_each_stream_has_its_file_and_lines_are_torchserves(tmp_path: Path) -> None:
    with logging_to(tmp_path) as writer:
        logging.getLogger("torchserve.core").info("hello %s", "you")
        logging.getLogger("torchserve.core").debug("not this")
        logging.getLogger("x").warning("careful")
        logging.getLogger("x").critical("worst")
        log_worker_line("W-9000-m_1.0", "stdout", "100 % printed")
        log_worker_line("W-9000-m_1.0", "stderr", "é")
        writer.access("one request")
    assert texts(tmp_path / "ts_log.log") == [
        "[INFO ] main torchserve.core - hello you", "[WARN ] main x - careful", "[FATAL] main x - worst",
    ]  # fmt: skip
    assert texts(tmp_path / "model_log.log") == [
        "[INFO ] W-9000-m_1.0-stdout MODEL_LOG - 100 % printed", "[WARN ] W-9000-m_1.0-stderr MODEL_LOG - é",
    ]  # fmt: skip
    assert (tmp_path / "access_log.log").read_text() == "one request\n"


def test_a_warning_is_a_line_of_the_log(tmp_path: Path) -> None:
    with logging_to(tmp_path), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    text = (tmp_path / "ts_log.log").read_text()
    assert "[WARN ] main py.warnings - " in text
    assert "DeprecationWarning: old" in text


def test_a_thread_and_a_traceback_are_named(tmp_path: Path) -> None:
    def fail() -> None:
        try:
            raise KeyError("gone")
        except KeyError:
            logging.getLogger("x").exception("it failed")

    with logging_to(tmp_path):
        thread = threading.Thread(target=fail, name="nvml_0")
        thread.start()
        thread.join()
    text = (tmp_path / "ts_log.log").read_text()
    assert "[ERROR] nvml_0 x - it failed\nTraceback (most recent call last):\n" in text
    assert text.endswith("KeyError: 'gone'\n")


def test_a_message_that_can_not_be_formatted_is_not_the_callers_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with logging_to(tmp_path):
        logging.getLogger("x").warning("%d", "no number")
        logging.getLogger("x").warning("next")
    assert texts(tmp_path / "ts_log.log") == ["[WARN ] main x - next"]
    assert "no number" in capsys.readouterr().err


def test_the_console_hears_it_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(tmp_path, console=True) as writer:
        logging.getLogger("x").warning("careful")
        writer.access("one request")
    said = capsys.readouterr().out
    assert said == (tmp_path / "ts_log.log").read_text() + "one request\n"


@pytest.mark.parametrize(
    ("seconds", "fraction"), [(0.0, "000"), (1.0, "000"), (1.9996, "999"), (1763806372.046, "046"), (0.0005, "000")]
)
def test_a_timestamp_never_rounds_up(seconds: float, fraction: str) -> None:
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d,{fraction}", timestamp(seconds))


def test_where_the_logs_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for value, expected in ((None, "logs"), ("", "logs"), ("here/there", "here/there"), ("/abs", "/abs")):
        if value is None:
            monkeypatch.delenv("LOG_LOCATION", raising=False)
        else:
            monkeypatch.setenv("LOG_LOCATION", value)
        assert log_folder() == tmp_path / expected


# ---- the writer


class Held:
    """An entry whose text is not there before the test says so."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.go = threading.Event()

    def __str__(self) -> str:
        self.asked.set()
        self.go.wait(30)
        return "held"


def test_what_comes_on_top_of_the_backlog_is_dropped_and_counted(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, console=None)
    held = Held()
    writer.access(held)
    assert held.asked.wait(30)
    for number in range(BACKLOG + 3):
        writer.access(number)
    assert writer.dropped == 3
    held.go.set()
    writer.close()
    lines = (tmp_path / "access_log.log").read_text().splitlines()
    assert lines == ["held", *map(str, range(BACKLOG))]


def test_an_entry_is_turned_to_text_by_the_writers_thread(tmp_path: Path) -> None:
    class Entry:
        def __str__(self) -> str:
            return threading.current_thread().name

    writer = LogWriter(tmp_path, console=None)
    writer.access(Entry())
    writer.close()
    assert (tmp_path / "access_log.log").read_text() == "log-writer\n"


def test_lines_arrive_without_a_close(tmp_path: Path) -> None:
    """A server that is killed has written its lines."""
    script = (
        "import logging, pathlib, sys\n"
        "from torchserve.core.logs import open_logs\n"
        "open_logs(pathlib.Path(sys.argv[1]), console=True)\n"
        "for line in sys.stdin:\n"
        "    logging.getLogger('x').warning(line.strip())\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for line in ("first", "second"):  # the second is shown when the first is in its file
            child.stdin.write(line + "\n")
            child.stdin.flush()
            assert line in child.stdout.readline()
        child.kill()
    assert texts(tmp_path / "ts_log.log")[0] == "[WARN ] main x - first"


# ---- one stream


def test_a_full_file_is_rotated_and_only_so_many_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "ts_log.log"
    for number in range(1, KEEP + 1):
        path.with_name(f"ts_log.log.{number}").write_text(f"old {number}")
    path.touch()
    os.truncate(path, ROTATE_AT)  # a sparse file
    stream = LogStream(path, None)
    stream.write("last\n", 1)
    stream.write("first\n", 1)
    stream.close()
    assert path.read_text() == "first\n"
    assert (tmp_path / "ts_log.log.1").stat().st_size == ROTATE_AT + 5
    assert [(tmp_path / f"ts_log.log.{number}").read_text() for number in range(2, KEEP + 1)] == [
        f"old {number}" for number in range(1, KEEP)
    ]
    assert len(list(tmp_path.iterdir())) == KEEP + 1


def test_a_file_below_the_size_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ts_log.log"
    for text in ("one\n", "two\n"):
        stream = LogStream(path, None)
        stream.write(text, 1)
        stream.close()
        stream.close()
    assert path.read_text() == "one\ntwo\n"


def test_a_rotation_that_fails_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ts_log.log"
    path.touch()
    os.truncate(path, ROTATE_AT)
    (tmp_path / "ts_log.log.4").touch()
    (tmp_path / "ts_log.log.5" / "in the way").mkdir(parents=True)
    stream = LogStream(path, None)
    stream.write("one\n", 1)
    stream.write("two\n", 1)
    stream.close()
    with path.open("rb") as file:
        file.seek(ROTATE_AT)
        assert file.read() == b"one\ntwo\n"
    assert stream.lost == 0


@pytest.mark.parametrize("what", ["full", "folder"])
def test_a_disk_that_takes_nothing_costs_the_lines_only(tmp_path: Path, what: str) -> None:
    path = tmp_path / "ts_log.log"
    if what == "full":
        path.symlink_to("/dev/full")
    else:
        path.mkdir()
    console = io.StringIO()
    stream = LogStream(path, console)
    stream.write("one\ntwo\n", 2)
    stream.write("three\n", 1)
    stream.close()
    assert stream.lost == 3
    assert console.getvalue() == "one\ntwo\nthree\n"


@pytest.mark.parametrize("closed", [True, False])
def test_a_console_that_takes_nothing_costs_no_line_of_the_file(tmp_path: Path, closed: bool) -> None:
    console = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    if closed:
        console.close()
    stream = LogStream(tmp_path / "ts_log.log", console)
    stream.write("é\n", 1)
    stream.close()
    assert (tmp_path / "ts_log.log").read_text(encoding="utf-8") == "é\n"


def test_what_is_no_text_is_shown_as_a_question_mark(tmp_path: Path) -> None:
    stream = LogStream(tmp_path / "ts_log.log", None)
    stream.write("a\udc80b\n", 1)
    stream.close()
    assert (tmp_path / "ts_log.log").read_bytes() == b"a?b\n"
