"""`torchserve profile`: what it asks, the file that it writes, and how stacks are shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from torchserve.cli.main import main

from .answering import answering

pytestmark = pytest.mark.usefixtures("temp")


def run(url: str, *words: str) -> Result:
    return CliRunner().invoke(main, ["profile", *words, "--management", url, "--token", "key"])


def test_a_profile_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with answering({"POST /models/cats/2.0/profile?worker=9001&seconds=3": (200, "trace")}) as server:
        words = ("cats", "--version", "2.0", "--worker", "9001", "--seconds", "3")
        done = run(server.url, *words, "--output", "one.gz")
        assert (done.exit_code, done.stdout) == (0, "one.gz: 5 bytes, a trace\n"), done.output
        file = tmp_path / "one.gz"
        assert (file.read_text(), file.stat().st_mode & 0o777) == ("trace", 0o600)
        done = run(server.url, *words, "--output", "one.gz")
        assert (done.exit_code, done.stderr) == (1, "Error: one.gz can't be written: File exists\n")
        assert server.asked[0][1] == "Bearer key"
        assert run(server.url, *words).stdout.startswith("cats.pt.trace.json.gz: ")


def test_stacks_are_shown_by_worker() -> None:
    workers = [
        {
            "id": "9000",
            "name": "W-9000-cats_1.0",
            "state": "ready",
            "busy": True,
            "stacks": ["Thread 1", "  File h.py"],
        },
        {"id": "9001", "name": "W-9001-cats_1.0", "state": "waiting", "error": "it has no process"},
    ]
    with answering({"GET /models/cats/stacks": (200, {"workers": workers})}) as server:
        done = run(server.url, "cats", "--stacks")
    assert done.stdout == (
        "W-9000-cats_1.0 (runs a batch)\n  Thread 1\n    File h.py\n\nW-9001-cats_1.0 (waiting)\n  it has no process\n"
    )
    with answering({"GET /models/cats/stacks?worker=9": (200, {"workers": []})}) as server:
        assert run(server.url, "cats", "--stacks", "--worker", "9").stderr == "It has no workers.\n"


def test_what_the_server_refuses_is_said() -> None:
    told = {"code": 409, "type": "T", "message": "A profile is being taken."}
    with answering({"POST /models/cats/profile?seconds=10": (409, told)}) as server:
        done = run(server.url, "cats")
    assert (done.exit_code, done.stderr) == (1, "Error: A profile is being taken.\n")
    assert CliRunner().invoke(main, ["profile", "cats", "--seconds", "61"]).exit_code == 2
