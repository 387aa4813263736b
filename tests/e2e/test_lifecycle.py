"""Starting and stopping: in front and in the background, what is refused, and what is left behind (nothing)."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from .conftest import Serve
from .handlers import BROKEN, ECHO, RECORD
from .live import COMMAND, environment, eventually, gone, make_model

PORTS = (
    "inference_address=http://127.0.0.1:0\nmanagement_address=http://127.0.0.1:0\nmetrics_address=http://127.0.0.1:0\n"
    "grpc_inference_port=0\ngrpc_management_port=0\n"
)


def torchserve(home: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=home,
        env=environment(home, env),
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )


def test_sigterm_finishes_what_was_accepted_and_leaves_nothing(serve: Serve, store: Path):
    make_model(store, "record", RECORD, config="minWorkers: 1\nmaxWorkers: 1\nbatchSize: 1\n")
    seen = store.parent / "seen"
    seen.touch()
    server = serve("record", env={"RECORD_HERE": str(seen)})
    server.ready("record")
    family = psutil.Process(server.process.pid).children(recursive=True)
    running = server.later("record", "wait")
    eventually(lambda: seen.read_text())
    waiting = server.later("record", "queued")
    eventually(lambda: server.manage("GET", "/models/record").json[0]["jobQueueStatus"]["pendingRequests"] == 1)
    probing = socket.create_connection(("127.0.0.1", server.ports["Inference"]))
    probing.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
    assert probing.recv(4096).startswith(b"HTTP/1.1 200")

    server.terminate()
    server.until_logged("Stopping: accepted requests are finished first")
    probing.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
    assert probing.recv(4096).startswith(b"HTTP/1.1 500"), "health turns first"
    probing.close()
    (store.parent / "gate").touch()
    assert [running.result().body, waiting.result().body] == [b"wait", b"queued"]
    assert server.stop() == 0
    eventually(lambda: all(gone(process.pid) for process in family))
    assert list(server.temp.iterdir()) == []


def test_start_returns_when_it_answers_and_stop_when_it_has_ended(tmp_path: Path):
    store = tmp_path / "store"
    make_model(store, "echo", ECHO)
    (tmp_path / "c.properties").write_text(PORTS)
    flags = ["--model-store", "store", "--ts-config", "c.properties", "--models", "echo", "other=echo", "--ncs"]
    started = torchserve(tmp_path, "--start", *flags)
    try:
        assert started.returncode == 0, started.stderr
        assert "TorchServe is running (pid " in started.stdout
        pid = int((tmp_path / "tmp" / ".model_server.pid").read_text())
        assert str(pid) in started.stdout
        again = torchserve(tmp_path, "--start", *flags)
        assert (again.returncode, again.stderr.strip()) == (
            1, "TorchServe is already running, please use torchserve --stop to stop TorchServe.",
        )  # fmt: skip
        assert not gone(pid)
    finally:
        stopped = torchserve(tmp_path, "--stop")
    assert stopped.returncode == 0
    assert stopped.stdout.endswith("TorchServe has stopped.\n")
    assert gone(pid)
    assert list((tmp_path / "tmp").iterdir()) == []
    idle = torchserve(tmp_path, "--stop")
    assert (idle.returncode, idle.stdout) == (0, "TorchServe is not currently running.\n")


def test_a_server_is_found_by_the_name_of_torchserves_and_by_no_other_process(serve: Serve, store: Path):
    make_model(store, "echo", ECHO)
    server = serve("echo")
    server.ready("echo")
    family = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
    assert len(family) > 1
    named = [process.pid for process in family if "org.pytorch.serve.ModelServer" in process.cmdline()]
    assert named == [server.process.pid]


def test_a_start_in_a_folder_of_modules_that_shadow_pythons_own_and_its_standard_output(tmp_path: Path):
    """The working folder is not on the server's module path; log lines go on to the file that was standard output."""
    make_model(tmp_path / "store", "echo", ECHO)
    (tmp_path / "c.properties").write_text(PORTS)
    for name in "token select types yaml numbers logging secrets random json asyncio torchserve".split():
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported from the working folder')")
    command = [sys.executable, "-P", *COMMAND[1:], "--start", "--model-store", "store", "--ts-config", "c.properties"]
    with (tmp_path / "out").open("w") as out:
        started = subprocess.run(
            [*command, "--models", "echo", "--ncs"],
            cwd=tmp_path, env=environment(tmp_path), stdout=out, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
        )  # fmt: skip
    try:
        assert started.returncode == 0, started.stderr
        pid = int((tmp_path / "tmp" / ".model_server.pid").read_text())
        assert "org.pytorch.serve.ModelServer" in psutil.Process(pid).cmdline()
        eventually(lambda: "Model server started." in (tmp_path / "out").read_text())
        eventually(lambda: '"GET /ping HTTP/1.1" 200' in (tmp_path / "out").read_text())
    finally:
        stop = [sys.executable, "-P", *COMMAND[1:], "--stop"]  # -P: this command, too, runs among those modules
        stopped = subprocess.run(stop, cwd=tmp_path, env=environment(tmp_path), timeout=120, check=False)
    assert stopped.returncode == 0


def test_version_and_help_and_usage(tmp_path: Path):
    assert torchserve(tmp_path, "--version").stdout == "TorchServe Version is 0.13.0\n"
    text = torchserve(tmp_path, "-h").stdout
    for flag in "--start --stop --foreground --ts-config --model-store --models --log-config --ncs --no-config-snapshots".split():
        assert flag in text
    assert torchserve(tmp_path, "--nonsense").returncode == 2


@pytest.fixture
def taken() -> socket.socket:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder


@pytest.mark.parametrize("place", ["foreground", "background"])
@pytest.mark.parametrize(
    ("properties", "arguments", "message"),
    [
        ("", ["--model-store", "nowhere"], "--model-store directory not found: nowhere"),
        ("", [], "Missing mandatory parameter --model-store"),
        ("", ["--model-store", "store", "--ts-config", "none"], "--ts-config file not found: none"),
        ("", ["--model-store", "store", "--log-config", "none.xml"], "--log-config file not found: "),
        ("job_queue_size=abc\n", ["--model-store", "store"], 'For input string: "abc"'),
        ("inference_address=foo\n", ["--model-store", "store"], "Invalid binding address: foo"),
        (
            "inference_address=http://127.0.0.1:{taken}\n",
            ["--model-store", "store"],
            "inference_address: can't listen on",
        ),
        ("", ["--model-store", "store", "--models", "missing.mar"], "Model not found at: missing.mar"),
        ("", ["--model-store", "store", "--models", "torn.mar"], "torn.mar: "),
    ],
)
def test_a_start_that_fails_says_why_in_one_line(
    tmp_path: Path, taken: socket.socket, place: str, properties: str, arguments: list[str], message: str
):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "torn.mar").write_bytes(b"PK\x03\x04 torn")
    (tmp_path / "config.properties").write_text(PORTS + properties.format(taken=taken.getsockname()[1]))
    flags = ["--foreground"] if place == "foreground" else []
    result = torchserve(tmp_path, "--start", *flags, *arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert list((tmp_path / "tmp").iterdir()) == [], "a failed start leaves no pid file, folder or process"


def test_all_leaves_out_what_can_not_be_loaded(serve: Serve, store: Path):
    make_model(store, "echo", ECHO)
    (store / "torn.mar").write_bytes(b"PK\x03\x04 torn")
    server = serve("all")
    server.ready("echo")
    assert [model["modelName"] for model in server.manage("GET", "/models").json["models"]] == ["echo"]
    assert server.has_logged("Failed to load model torn.mar: torn.mar: ")


def test_the_front_never_loads_torch(serve: Serve, store: Path):
    make_model(store, "echo", ECHO)
    server = serve("echo")
    server.ready("echo")
    server.predict("echo", b"x")
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "libtorch" not in maps
    assert "/torch/" not in maps


def test_a_log_disk_that_is_full_costs_no_request(serve: Serve, store: Path, tmp_path: Path):
    make_model(store, "echo", ECHO)
    logs = tmp_path / "logs"
    logs.mkdir()
    for name in ("ts_log.log", "access_log.log", "model_log.log"):
        (logs / name).symlink_to("/dev/full")
    server = serve("echo")
    server.ready("echo")
    assert server.predict("echo", b"still").body == b"still"

    def lost(reason: str) -> float:
        text = server.call("Metrics", "GET", "/metrics?name[]=torchserve_log_lines_lost_total").body.decode()
        (value,) = re.findall(rf'^torchserve_log_lines_lost_total{{reason="{reason}",}} (\S+)$', text, re.MULTILINE)
        return float(value)

    eventually(lambda: lost("write_failed") > 3)
    assert lost("backlog") == 0
    for name in ("ts_log.log", "access_log.log"):
        server.until_logged(f"{logs / name} takes no lines: No space left on device.")
        (logs / name).unlink()
    assert server.predict("echo", b"more").body == b"more"
    assert server.manage("PUT", "/models/echo?min_worker=2&synchronous=true").status == 200  # has a line in ts_log
    server.until_logged(f"{logs}/access_log.log takes lines again; ")
    assert server.stop() == 0


def test_a_failing_load_at_start_does_not_outlive_a_stop(serve: Serve, store: Path):
    make_model(store, "broken", BROKEN)
    server = serve("broken")
    server.until_logged("Retry worker: 9000")
    assert server.stop() == 0
    assert os.listdir(server.temp) == []
