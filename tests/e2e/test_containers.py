"""The server, its commands and its workers where containers and batch systems leave them little."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..standins import container
from .conftest import Serve
from .handlers import PROBE
from .live import COMMAND, LiveServer, make_model

needs_container = pytest.mark.skipif(not container.available(), reason="needs root, and mount namespaces")

WHOSE = """
import getpass, os
from pathlib import Path

def handle(data, context):
    return [{"user": getpass.getuser(), "home": str(Path.home()), "uid": os.getuid()} for _ in data or ()]
"""
ON_ONE_CORE = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.execvp(sys.argv[1], sys.argv[1:])
"""


@needs_container
def test_a_user_without_a_name_or_a_home_where_all_is_read_only(tmp_path: Path, store: Path) -> None:
    for each in (tmp_path, *tmp_path.parents):
        if each.stat().st_uid == os.geteuid() and each.is_relative_to("/tmp") and each != Path("/tmp"):
            each.chmod(0o755)
    make_model(store, "whose", WHOSE)
    inside = functools.partial(container.contained, tmp_path)
    server = LiveServer(tmp_path, ["whose"], inside=inside, flags=("--ts-config", "config.properties"))

    def run(*words: str) -> str:
        command = inside([*COMMAND, *words])
        done = subprocess.run(command, env=server.env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        server.wait()
        server.ready("whose")
        answer = server.predict("whose").json
        assert (answer["user"], answer["home"], answer["uid"]) == ("uid54321", str(server.temp), container.UID)
        assert "whose" in run("models", "list")
        assert "model_store" in run("config", "show", "--model-store", str(store))
        assert "uid54321" in run("predict", str(store / "whose"), str(server.home / "config.properties"))
        assert run("--stop").endswith("TorchServe has stopped.\n")
    finally:
        server.stop()
    assert "Traceback" not in "\n".join(server.lines)
    background = ["--start", "--ncs", "--model-store", str(store), "--ts-config", str(tmp_path / "config.properties")]
    assert "and healthy" in run(*background)
    assert run("--stop").endswith("TorchServe has stopped.\n")


def test_on_one_core_a_model_has_one_worker(serve: Serve, tmp_path: Path, store: Path) -> None:
    """As under `taskset -c 0`, or in a job that a batch system has bound to a core."""
    make_model(store, "probe", PROBE, config="batchSize: 1\n")
    inside = lambda command: [sys.executable, "-P", "-c", ON_ONE_CORE, *command]
    server = LiveServer(tmp_path, ["probe"], inside=inside)
    try:
        server.wait()
        server.ready("probe")
        assert len(server.workers("probe")) == 1
        server.until_logged("Number of CPUs: 1")
    finally:
        server.stop()
