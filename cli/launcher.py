"""The functions of `ts.launcher`: start and stop a server, and register models with it, from scripts and tests."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from queue import Queue
from typing import IO, Any

from ..core.config.properties import read_properties

_COMMAND = (sys.executable, "-P", "-m", "torchserve.cli.main")
_STARTED = "Model server started"
_KEPT = 1000  # lines that the queue holds at most; further lines are only printed

Params = Mapping[str, str] | Iterable[tuple[str, str]]

_running: list[subprocess.Popen[str]] = []


def start(
    model_store: str | Path,
    snapshot_file: str | Path | None = None,
    no_config_snapshots: bool = False,
    plugin_folder: str | Path | None = None,
    disable_token: bool = False,
    models: str | None = None,
    enable_model_api: bool = False,
    log_config: str | Path | None = None,
) -> Queue[str | None]:
    """Stop the server that runs, start one in the foreground of a child process, and return when it has started.

    The returned queue receives each line that the server logs afterwards, with its newline, and None after the last
    line. All lines are printed as well. If the server ends before it has started, its output is printed and the queue
    holds None only.
    """
    stop()
    command = [*_COMMAND, "--start", "--foreground", "--model-store", str(model_store)]
    options = {"--plugins-path": plugin_folder, "--ts-config": snapshot_file, "--log-config": log_config}
    for flag, value in [*options.items(), ("--models", models)]:
        command += [flag, str(value)] if value else []
    switches = {
        "--no-config-snapshots": no_config_snapshots,
        "--disable-token-auth": disable_token,
        "--enable-model-api": enable_model_api,
    }
    command += [flag for flag, wanted in switches.items() if wanted]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    assert server.stdout is not None
    for line in server.stdout:
        _print(line)
        if _STARTED in line:
            break
    _running.append(server)
    lines: Queue[str | None] = Queue()
    threading.Thread(target=_follow, args=(server.stdout, lines), name="ts.launcher", daemon=True).start()
    return lines


def load_properties(file_path: str | Path) -> dict[str, str]:
    """Return what a properties file says, every value as text. Raises InvalidConfig where it can't be read."""
    return {each.key: each.text for each in read_properties(Path(file_path))}


def stop(wait: bool = True) -> None:
    """Stop the running server, if there is one, as `torchserve --stop` does. With `wait`, return only when it has
    ended.
    """
    subprocess.run([*_COMMAND, "--stop", *(["--foreground"] if wait else [])], check=False)
    while wait and _running:
        _running.pop().wait()


def register_model_with_params(params: Params) -> Any:
    """Call POST /models at port 8081 with these query parameters. Return the `requests.Response`. Needs `requests`."""
    import requests  # not one of the server's dependencies

    return requests.post("http://localhost:8081/models", params=params, timeout=600)


def register_model(model_name: str, url: str) -> Any:
    """Register a model with one worker, wait until the worker is ready, and return the `requests.Response`."""
    return register_model_with_params(
        [("model_name", model_name), ("url", url), ("initial_workers", "1"), ("synchronous", "true")]
    )


def _follow(output: IO[str], lines: Queue[str | None]) -> None:
    with output:
        for line in output:
            _print(line)
            if lines.qsize() < _KEPT:
                lines.put(line)
    lines.put(None)


def _print(line: str) -> None:
    print(line.rstrip("\n"), flush=True)  # noqa: T201 - as TorchServe's does: a test's output tells what the server said
