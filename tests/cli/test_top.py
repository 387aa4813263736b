"""`torchserve top` against a real server; and completion, which asks one, too."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from torchserve.cli.main import main

from ..e2e.conftest import Serve, serve, store
from ..e2e.handlers import ECHO
from ..e2e.live import eventually, make_model
from .answering import answering

__all__ = ["serve", "store"]
pytestmark = pytest.mark.usefixtures("temp")


def test_what_a_server_does(serve: Serve, store: Path) -> None:
    make_model(store, "cats", ECHO)
    server = serve("cats")
    server.ready("cats")
    for _ in range(3):
        assert server.predict("cats", b"x").status == 200
    addresses = ["--management", f"http://127.0.0.1:{server.ports['Management']}"]
    addresses += ["--metrics", f"http://127.0.0.1:{server.ports['Metrics']}", "--interval", "0.1"]
    done = CliRunner().invoke(main, ["top", "--json", *addresses])
    assert done.exit_code == 0, done.output
    view = json.loads(done.stdout)
    assert list(view) == ["window_seconds", "models", "workers", "gpus", "language_models"]
    assert view["language_models"] == []
    (model,) = view["models"]
    assert model | {"requests_per_second": 0, "p50_ms": 0, "p99_ms": 0, "batch_size": 0} == {
        "model": "cats", "version": "1.0", "workers_ready": 1, "workers_wanted": 1, "queue_depth": 0, "in_flight": 0,
        "requests_per_second": 0, "p50_ms": 0, "p99_ms": 0, "batch_size": 0, "errors": 0, "errors_per_second": 0.0,
    }  # fmt: skip
    (worker,) = view["workers"]
    assert (worker["model"], worker["version"], worker["status"]) == ("cats", "1.0", "READY")
    assert worker["pid"] == server.workers("cats")[0]["pid"]
    done = CliRunner().invoke(main, ["top", *addresses])
    lines = done.stdout.splitlines()
    assert lines[:2] == ["models", "MODEL  VERSION  WORKERS  QUEUE  RUNNING  REQ/S  P50 MS  P99 MS  BATCH  ERRORS"]
    assert lines[2].split()[:6] == ["cats", "1.0", "1/1", "0", "0", "0.0"]
    assert lines[3:5] == ["", "workers"]
    assert str(worker["pid"]) in lines[6]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--metrics", "http://127.0.0.1:1"], "No server answers at http://127.0.0.1:1"),
        (["--metrics", "nonsense"], "Invalid binding address: nonsense"),
        (["--management", "unix:/nowhere"], "metrics API is off"),
    ],
)
def test_no_metrics(words: list[str], said: str) -> None:
    done = CliRunner().invoke(main, ["top", "--once", *words])
    assert (done.exit_code, done.stdout) == (1, "")
    assert said in done.stderr


def test_an_interval_is_a_while() -> None:
    assert CliRunner().invoke(main, ["top", "--interval", "0"]).exit_code == 2


# ---- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0, done.output
    assert "_TORCHSERVE_COMPLETE" in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True)


def complete(words: str, place: int, **variables: str) -> list[str]:
    env = {"_TORCHSERVE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(place), **variables}
    done = CliRunner().invoke(main, [], env=env, prog_name="torchserve")
    return sorted(line.removeprefix("plain,") for line in done.stdout.split())


@pytest.mark.parametrize(
    ("words", "place", "found"),
    [
        ("torchserve mo", 1, ["models"]),
        ("torchserve models r", 2, ["register", "rm"]),
        ("torchserve --enable", 1, ["--enable-model-api"]),
        ("torchserve models rm d", 3, ["dogs", "dots"]),
        ("torchserve models describe --management {url} d", 5, ["dogs", "dots"]),
    ],
)
def test_what_is_completed(words: str, place: int, found: list[str]) -> None:
    listed = {"models": [{"modelName": name} for name in ("cats", "dogs", "dots")]}
    with answering({"GET /models?limit=100": (200, listed)}) as server:
        url = server.url
        # A shell waits for a second at most.
        eventually(lambda: complete(words.format(url=url), place, TS_MANAGEMENT_ADDRESS=url) == found)


def test_without_a_server_nothing_is_completed() -> None:
    assert complete("torchserve models rm d", 3, TS_MANAGEMENT_ADDRESS="http://127.0.0.1:1") == []


def test_what_is_not_used_is_not_imported() -> None:
    script = (
        "import sys, torchserve.cli.models, torchserve.cli.top, torchserve.cli.completion; print('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
