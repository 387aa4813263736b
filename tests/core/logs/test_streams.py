"""The log streams: TorchServe's lines in TorchServe's files, and nothing that an entry does hurts a caller."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from torchserve.core.logs.install import log_worker_line
from torchserve.core.logs.line import Line
from torchserve.core.logs.plan import (
    MODEL_METRICS,
    TS_METRICS,
    LogPlan,
    Route,
    default_plan,
    log_folder,
    metrics_folder,
)
from torchserve.core.logs.writer import BACKLOG, LogWriter

from .conftest import Logging

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{3} (.*)")


class Said(NamedTuple):
    """An entry of a stream."""

    words: str
    at: float = 1795343572.046
    request_id: str = ""
    trace_id: str = ""

    def text(self) -> str:
        return self.words


def texts(path: Path) -> list[str]:
    """The lines of a log without their time, which must be there."""
    found = [LINE.fullmatch(line) for line in path.read_text().splitlines()]
    assert all(found)
    return [match[1] for match in found if match]


def say_something(writer: LogWriter) -> None:
    logging.getLogger("torchserve.core").info("hello %s", "you", extra={"request_id": "id-1"})
    logging.getLogger("torchserve.core").debug("not this")
    logging.getLogger("x").critical("worst")
    log_worker_line("W-9000-m_1.0", "stdout", "100 % printed", "id-1,id-2")
    log_worker_line("W-9000-m_1.0", "stderr", "é", "")
    writer.access(Said("one request", request_id="id-1"))
    writer.stream(TS_METRICS, Said("a metric"))
    writer.stream(MODEL_METRICS, Said("a model's metric"))


def test_each_stream_has_its_file_and_lines_are_torchserves(tmp_path: Path, logging_to: Logging) -> None:
    with logging_to() as writer:
        say_something(writer)
    assert texts(tmp_path / "ts_log.log") == ["[INFO ] main torchserve.core - hello you", "[FATAL] main x - worst"]
    assert texts(tmp_path / "model_log.log") == [
        "[INFO ] W-9000-m_1.0-stdout MODEL_LOG - 100 % printed", "[WARN ] W-9000-m_1.0-stderr MODEL_LOG - é",
    ]  # fmt: skip
    assert texts(tmp_path / "access_log.log") == ["- one request"]
    assert texts(tmp_path / "metrics" / "ts_metrics.log") == ["- a metric"]
    assert texts(tmp_path / "metrics" / "model_metrics.log") == ["- a model's metric"]


def test_json_lines_carry_the_request_ids(tmp_path: Path, logging_to: Logging) -> None:
    with logging_to(default_plan(console=False, as_json=True)) as writer:
        say_something(writer)
        logging.getLogger("x").warning("\udcff")
    lines = [
        orjson.loads(line)
        for name in ("ts_log", "model_log", "access_log")
        for line in (tmp_path / f"{name}.log").read_text().splitlines()
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("timestamp")) for line in lines)
    core = {"level": "INFO", "thread": "main", "logger": "torchserve.core", "message": "hello you"}
    assert lines[0] == {**core, "request_id": "id-1"}
    assert [(line["message"], line.get("request_id")) for line in lines[1:]] == [
        ("worst", None), ("?", None), ("100 % printed", "id-1,id-2"), ("é", None), ("one request", "id-1"),
    ]  # fmt: skip


def test_a_warning_is_a_line_of_the_log(tmp_path: Path, logging_to: Logging) -> None:
    with logging_to(), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    text = (tmp_path / "ts_log.log").read_text()
    assert "[WARN ] main py.warnings - " in text
    assert "DeprecationWarning: old" in text


@pytest.mark.parametrize("as_json", [False, True])
def test_a_thread_and_a_traceback_are_named(tmp_path: Path, logging_to: Logging, as_json: bool) -> None:
    def fail() -> None:
        try:
            raise KeyError("gone")
        except KeyError:
            logging.getLogger("x").exception("it failed")

    with logging_to(default_plan(console=False, as_json=as_json)):
        thread = threading.Thread(target=fail, name="nvml_0")
        thread.start()
        thread.join()
    text = (tmp_path / "ts_log.log").read_text()
    if as_json:
        line = orjson.loads(text)
        assert (line["level"], line["thread"], line["message"]) == ("ERROR", "nvml_0", "it failed")
        assert line["exception"].endswith("KeyError: 'gone'")
    else:
        assert "[ERROR] nvml_0 x - it failed\n    Traceback (most recent call last):\n" in text
        assert text.endswith("KeyError: 'gone'\n")


def test_a_message_that_can_not_be_formatted_is_not_the_callers_problem(
    tmp_path: Path, logging_to: Logging, capsys: pytest.CaptureFixture[str]
) -> None:
    with logging_to():
        logging.getLogger("x").warning("%d", "no number")
        logging.getLogger("x").warning("next")
    assert texts(tmp_path / "ts_log.log") == ["[WARN ] main x - next"]
    assert "no number" in capsys.readouterr().err


def test_an_entry_without_a_text_costs_itself_only(tmp_path: Path, logging_to: Logging) -> None:
    class Broken(Said):
        def text(self) -> str:
            raise ValueError("no text")

    with logging_to() as writer:
        writer.access(Broken("?"))
        writer.access(Said("next"))
    assert texts(tmp_path / "access_log.log") == ["- next"]
    assert writer.dropped == 1
    assert texts(tmp_path / "ts_log.log") == [
        "[WARN ] log-writer torchserve.core.logs.writer - 1 lines of the logs are missing here"
    ]


def test_the_console_hears_it_as_well(tmp_path: Path, logging_to: Logging, capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(default_plan(console=True)) as writer:
        logging.getLogger("x").warning("careful")
        writer.access(Said("one request"))
    said = capsys.readouterr().out.splitlines(keepends=True)
    assert said[0] == (tmp_path / "ts_log.log").read_text()
    assert said[1].endswith(" [INFO ] main ACCESS_LOG - one request\n")
    assert default_plan(console=True).without_console().appenders() != default_plan(console=True).appenders()
    assert all(appender.path for appender in default_plan(console=True).without_console().appenders())


def test_a_stream_that_nobody_reads_takes_nothing(tmp_path: Path) -> None:
    plan = default_plan(console=False)
    writer = LogWriter(
        LogPlan({**plan.routes, "ACCESS_LOG": Route(logging.ERROR, plan.routes["ACCESS_LOG"].appenders)})
    )
    writer.access(Said("one request"))
    writer.close()
    assert (tmp_path / "access_log.log").read_text() == ""


def test_where_the_logs_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for value, expected in ((None, "logs"), ("", "logs"), ("here/there", "here/there"), ("/abs", "/abs")):
        for variable, folder in (("LOG_LOCATION", log_folder), ("METRICS_LOCATION", metrics_folder)):
            if value is None:
                monkeypatch.delenv(variable, raising=False)
            else:
                monkeypatch.setenv(variable, value)
            assert folder() == tmp_path / expected


# ---- the writer


class Held(Said):
    """An entry whose text is not there before the test says so."""

    asked, go = threading.Event(), threading.Event()

    def text(self) -> str:
        self.asked.set()
        self.go.wait(30)
        return "held"


def test_what_comes_on_top_of_the_backlog_is_dropped_and_counted(tmp_path: Path) -> None:
    writer = LogWriter(default_plan(console=False))
    held = Held("")
    writer.access(held)
    assert held.asked.wait(30)
    for number in range(BACKLOG + 3):
        writer.access(Said(str(number)))
    assert writer.dropped == 3
    held.go.set()
    writer.close()
    lines = (tmp_path / "access_log.log").read_text().splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["held", *map(str, range(BACKLOG))]


def test_a_disk_that_is_full_is_told_of_once_and_so_is_its_room(tmp_path: Path) -> None:
    """The access log's disk is full, and has room again; that of ts_log never is."""
    path, told = tmp_path / "access_log.log", tmp_path / "ts_log.log"
    path.symlink_to("/dev/full")
    writer = LogWriter(default_plan(console=False))
    for number in range(3):
        writer.access(Said(str(number)))
        poll(lambda number=number: writer.lost == number + 1)
    path.unlink()
    writer.access(Said("there"))
    writer.close()
    assert texts(path) == ["- there"]
    assert texts(told) == [
        f"[ERROR] log-writer torchserve.core.logs.writer - {path} takes no lines: No space left on device. Lines that"
        " are lost are counted in torchserve_log_lines_lost_total.",
        f"[WARN ] log-writer torchserve.core.logs.writer - {path} takes lines again; 3 lines are missing in it",
    ]


def test_news_that_the_log_itself_can_not_take_waits(tmp_path: Path) -> None:
    """What is lost of ts_log is told in it, once it has room: its missing lines, and the news that was one of them."""
    told = tmp_path / "ts_log.log"
    told.symlink_to("/dev/full")
    writer = LogWriter(default_plan(console=False))
    writer.put("x", line("first"))
    poll(lambda: writer.lost >= 2)  # the line, and the news of its loss
    told.unlink()
    writer.put("x", line("second"))
    writer.close()
    assert texts(told) == [
        "[WARN ] t x - second",
        f"[WARN ] log-writer torchserve.core.logs.writer - {told} takes lines again; 2 lines are missing in it",
    ]


def line(text: str) -> Line:
    return Line(1795343572.0, logging.WARNING, "t", "x", text)


def poll(true: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_an_entry_is_turned_to_text_by_the_writers_thread(tmp_path: Path, logging_to: Logging) -> None:
    class Entry(Said):
        def text(self) -> str:
            return threading.current_thread().name

    with logging_to() as writer:
        writer.access(Entry(""))
    assert texts(tmp_path / "access_log.log") == ["- log-writer"]


def test_lines_arrive_without_a_close(tmp_path: Path) -> None:
    """A server that is killed has written its lines."""
    script = (
        "import logging, sys\n"
        "from torchserve.core.logs.install import open_logs\n"
        "from torchserve.core.logs.plan import default_plan\n"
        "open_logs(default_plan(console=True))\n"
        "for line in sys.stdin:\n"
        "    logging.getLogger('x').warning(line.strip())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for line in ("first", "second"):  # the second is shown when the first is in its file
            child.stdin.write(line + "\n")
            child.stdin.flush()
            assert line in child.stdout.readline()
        child.kill()
    assert texts(tmp_path / "ts_log.log")[0] == "[WARN ] main x - first"


def test_every_file_is_there_before_its_first_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LOCATION", str(tmp_path / "logs"))
    monkeypatch.setenv("METRICS_LOCATION", str(tmp_path / "metrics"))
    LogWriter(default_plan(console=False)).close()
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")) == [
        "logs/access_log.log", "logs/model_log.log", "logs/ts_log.log",
        "metrics/model_metrics.log", "metrics/ts_metrics.log",
    ]  # fmt: skip


def test_many_lines_of_one_entry_are_a_line_each(tmp_path: Path, logging_to: Logging) -> None:
    class Three:
        def take(self) -> Iterator[tuple[float, str, str]]:
            yield from ((1795343572.046, f"line {number}", "") for number in range(3))

    with logging_to(default_plan(console=False)) as writer:
        writer.stream(TS_METRICS, Three())
    assert texts(metrics_folder() / "ts_metrics.log") == [f"- line {number}" for number in range(3)]


@pytest.mark.parametrize("as_json", [False, True])
def test_lines_of_a_recorded_request_name_its_trace(tmp_path: Path, logging_to: Logging, as_json: bool) -> None:
    with logging_to(default_plan(console=False, as_json=as_json)) as writer:
        writer.access(Said("one request", trace_id="ab"))
        log_worker_line("W-9000", "stdout", "printed", "id-1", "cd\nef")
    names = {name: (tmp_path / f"{name}.log").read_text().splitlines() for name in ("access_log", "model_log")}
    ((access,), (worker,)) = names["access_log"], names["model_log"]
    if as_json:
        assert [orjson.loads(each)["trace_id"] for each in (access, worker)] == ["ab", "cd\nef"]
    else:
        assert access.endswith(" - one request trace_id=ab")
        assert worker.endswith(r" - printed trace_id=cd\nef")
