"""`torchserve top --record` and `--replay`: what is kept comes back, within a bound, and torn lines hurt nobody."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from torchserve.cli import top as command
from torchserve.cli import top_record
from torchserve.cli.load import GpuLoad, ModelLoad, TextLoad
from torchserve.cli.main import main
from torchserve.cli.top_record import Record, aside, readings
from torchserve.cli.view import View

from .answering import answering

WORKER = {"id": "9000", "status": "READY", "pid": 7, "memoryUsage": 1 << 30}
VIEW = View(
    [ModelLoad("cats", "1.0", 1, 1, 3, 2, 4.5, 10.0, None, 1.5, 7, 0.1)],
    [("cats", "1.0", WORKER)],
    [GpuLoad("0", 1 << 30, 50.0, None)],
    10.0,
    [TextLoad("cats", "1.0", 1, 0, 5.0, 1.0, 2.0, None, None, 3.0, 4.0)],
)


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["top", *words])


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A record of a reading, of one that failed and of another one, ten seconds apart."""
    path = tmp_path / "top.jsonl"
    made = Record(path)
    made.add(1000.0, VIEW)
    made.add(1010.0, None, "No server answers")
    made.add(1020.0, View([], [], [], 10.0))
    return path


def test_what_is_kept_comes_back(record: Path) -> None:
    assert list(readings(record)) == [
        (1000.0, VIEW, ""), (1010.0, None, "No server answers"), (1020.0, View([], [], [], 10.0), ""),
    ]  # fmt: skip
    assert record.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_full_is_put_aside_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top_record, "MOST_FILE", 100)
    path = tmp_path / "top.jsonl"
    for number in range(9):
        Record(path).add(float(number), None, "x" * 20)
    assert path.stat().st_size <= 100
    assert aside(path).stat().st_size <= 100
    assert [at for at, *_ in readings(path)] == [6.0, 7.0, 8.0]


TORN = st.one_of(
    st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")),
    st.recursive(
        st.one_of(st.none(), st.integers(), st.text(max_size=4)),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["at", "error", "models", "workers", "gpus", "window_seconds"]), inner)
        ),
        max_leaves=8,
    ).map(lambda found: json.dumps(found).encode()),
)


@given(TORN)
def test_a_line_that_is_none_of_ours_is_left_out(tmp_path_factory: pytest.TempPathFactory, torn: bytes) -> None:
    path = tmp_path_factory.mktemp("torn") / "top.jsonl"
    path.write_bytes(torn + b'\n{"at":1,"error":"a"}\n{"at":2,"mod')
    assert (1.0, None, "a") in list(readings(path))


def test_a_field_of_a_later_version_is_left_out(record: Path) -> None:
    line = json.loads(record.read_text().splitlines()[0])
    line["models"][0]["new"] = 1
    record.write_text(json.dumps(line) + "\n")
    assert next(readings(record))[1] == VIEW


def test_a_replay_needs_no_server(record: Path) -> None:
    shown = run("--replay", str(record)).stdout
    assert [line[:5] for line in shown.splitlines() if line.startswith("1970-")] == ["1970-"] * 3
    assert ["cats", "1.0", "1/1", "3", "2", "4.5", "10.0"] in [line.split()[:7] for line in shown.splitlines()]
    assert "\nNo server answers\n" in shown
    last = run("--replay", str(record), "--once").stdout
    assert last.count("1970-") == 1
    assert "cats" not in last
    lines = run("--replay", str(record), "--json").stdout.splitlines()
    assert [json.loads(line)["at"] for line in lines] == [1000.0, 1010.0, 1020.0]


def test_a_part_of_a_record_is_shown(record: Path) -> None:
    def at(moment: float) -> str:
        return datetime.fromtimestamp(moment).strftime("%Y-%m-%dT%H:%M:%S")

    words = ("--replay", str(record), "--json")
    lines = run(*words, "--since", at(1005), "--until", at(1015)).stdout.splitlines()
    assert [json.loads(line) for line in lines] == [{"at": 1010.0, "error": "No server answers"}]
    assert "There is no reading to show." in run(*words, "--since", at(2000)).stderr


def test_what_can_not_be_read_or_written_is_said(tmp_path: Path, record: Path) -> None:
    assert "there is no such file" in run("--replay", str(tmp_path / "none")).stderr
    assert "can't be read: Is a directory" in run("--replay", str(tmp_path)).stderr
    assert run("--replay", str(record), "--record", str(record)).exit_code == 2
    with pytest.raises(click.ClickException, match="can't be written"):
        Record(Path("/dev/full")).add(0.0, None, "x")


def test_each_reading_is_recorded_and_a_server_that_is_gone_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = 'torchserve_workers{model_name="cats",model_version="1.0",state="ready"} 1\n'
    told: dict[str, tuple[int, Any]] = {
        "GET /metrics": (200, metrics),
        "GET /models/cats/all": (200, [{"modelVersion": "1.0", "workers": [WORKER]}]),
    }
    turns: list[float] = []

    def sleep(seconds: float) -> None:
        turns.append(seconds)
        if len(turns) == 2:
            del told["GET /metrics"]
        if len(turns) == 4:
            raise KeyboardInterrupt

    path = tmp_path / "top.jsonl"
    with answering(told) as server:
        addresses = ("--management", server.url, "--metrics", server.url)
        monkeypatch.setattr(command, "time", SimpleNamespace(sleep=sleep, time=time.time, monotonic=time.monotonic))
        done = run("--record", str(path), "--interval", "5", *addresses)
    assert (done.exit_code, done.stdout) == (0, ""), done.output
    found = list(readings(path))
    assert [(view is not None, error) for _, view, error in found] == [
        (True, ""), (True, ""), (False, "no GET /metrics"), (False, "no GET /metrics"),
    ]  # fmt: skip
    assert found[0][1] is not None
    assert found[0][1].workers == [("cats", "1.0", WORKER)]
    assert abs(found[0][0] - time.time()) < 3600
    assert turns == [5.0] * 4
