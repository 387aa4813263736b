"""LiveServer: the real command, started on ports of its own, and small clients to talk to it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

T = TypeVar("T")
COMMAND = [sys.executable, "-m", "torchserve.cli.main"]
_ADDRESS = re.compile(
    r"(Inference|Management|Metrics|gRPC inference|gRPC management) API bind to: https?://[^:]+:(\d+)"
)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """The text of an error, after checking that it is one of ours."""
        assert list(self.json) == ["code", "type", "message"]
        assert self.json["code"] == self.status
        return self.json["message"]


def eventually(check: Callable[[], T], seconds: float = 60.0) -> T:
    """What `check` returns as soon as that is true; fails with its last value. The bound is there to end, not to measure."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, f"still {found!r} after {seconds} s"
        time.sleep(0.02)
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended; its parent may not have asked for its exit code yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Gate:
    """A file that a handler waits for, once it has made the one beside it: `hold PATH` to handlers.PROBE does."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def reached(self) -> None:
        eventually(self.path.with_name(f"{self.path.name}.reached").exists)

    def open(self) -> None:
        self.path.touch()


def make_model(store: Path, name: str, handler: str, config: str = "", version: str = "1.0", **files: str) -> Path:
    """A folder that can be served: a manifest, a handler, a model-config.yaml and whatever else."""
    folder = store / name
    (folder / "MAR-INF").mkdir(parents=True)
    manifest = {
        "runtime": "python",
        "model": {
            "modelName": name,
            "modelVersion": version,
            "handler": "handler.py",
            "configFile": "model-config.yaml",
        },
    }
    (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))
    (folder / "model-config.yaml").write_text(config or "minWorkers: 1\nmaxWorkers: 1\n")
    (folder / "handler.py").write_text(handler)
    for file, text in files.items():
        (folder / file).write_text(text)
    return folder


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The test's own temp dir and logs; coverage and caches stay out of it."""
    temp = home / "tmp"
    temp.mkdir(exist_ok=True)
    base = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("TS_", "LOG_LOCATION", "METRICS_LOCATION"))
    }
    own = {"TMPDIR": str(temp), "LOG_LOCATION": str(home / "logs"), "XDG_CACHE_HOME": str(home / "cache")}
    return base | own | dict(extra or {})


class LiveServer:
    """`torchserve --start --foreground` in `home`, which holds its store, logs and temp dir.

    A snapshot under logs/config is used if `flags` leave out both of the default ones. `inside` makes the command run
    somewhere else, as in a sandbox.
    """

    def __init__(
        self,
        home: Path,
        models: Sequence[str],
        *,
        properties: str = "",
        env: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        flags: Sequence[str] = ("--ncs", "--ts-config", "config.properties"),
        inside: Callable[[list[str]], list[str]] = list,
        start: Sequence[str] = ("--start", "--foreground"),
    ) -> None:
        self.home = home
        self.store = home / "store"
        self.temp = home / "tmp"
        self.env = environment(home, env)
        config = home / "config.properties"
        config.write_text(
            "inference_address=http://127.0.0.1:0\nmanagement_address=http://127.0.0.1:0\n"
            f"metrics_address=http://127.0.0.1:0\n"
            f"grpc_inference_port=0\ngrpc_management_port=0\ngpu_lease_folder={home}/leases\n{properties}\n"
        )
        command = [*COMMAND, *start, "--model-store", str(self.store)]
        command += [str(config) if flag == config.name else flag for flag in flags]
        command += arguments
        if models:
            command += ["--models", *models]
        command = inside(command)
        self.lines: list[str] = []
        self.ports: dict[str, int] = {}
        self._terminated = False
        self.process = subprocess.Popen(
            command, env=self.env, cwd=home, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._clients = ThreadPoolExecutor(64)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if found := _ADDRESS.search(line):
                self.ports[found[1]] = int(found[2])

    def wait(self) -> LiveServer:
        eventually(lambda: self.has_logged("Model server started.") or self.process.poll() is not None)
        assert self.process.poll() is None, "\n".join(self.lines)
        return self

    def ready(self, model: str, workers: int = 1) -> None:
        """Wait until so many workers of a model serve."""
        eventually(lambda: len(self.workers(model, "READY")) >= workers)

    def workers(self, model: str, status: str | None = None) -> list[dict[str, Any]]:
        found = self.manage("GET", f"/models/{model}").json[0]["workers"]
        return [worker for worker in found if status in {None, worker["status"]}]

    def has_logged(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def until_logged(self, text: str) -> None:
        """The log is written by a thread of its own: a line may come after the answer to what it tells of."""
        eventually(lambda: self.has_logged(text))

    def accepted(self, model: str) -> tuple[int, int]:
        """How many requests of a model its workers have, and how many wait."""
        text = self.call(
            "Metrics", "GET", "/metrics?name[]=torchserve_requests_in_flight&name[]=torchserve_queue_depth"
        )
        found = re.findall(rf'^(\w+){{model_name="{model}".*}} (\d+)', text.body.decode(), re.MULTILINE)
        numbers = {name: int(number) for name, number in found}
        return numbers["torchserve_requests_in_flight"], numbers["torchserve_queue_depth"]

    # ---- clients

    def call(self, api: str, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[api], timeout=60)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def predict(self, model: str, body: bytes | str = b"", **headers: str) -> Answer:
        data = body.encode() if isinstance(body, str) else body
        headers.setdefault("content_type", "text/plain" if isinstance(body, str) else "application/octet-stream")
        return self.call("Inference", "POST", f"/predictions/{model}", data, **headers)

    def manage(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        return self.call("Management", method, path, body, **headers)

    def later(self, model: str, body: bytes | str = b"") -> Future[Answer]:
        return self._clients.submit(self.predict, model, body)

    # ---- the end

    def terminate(self) -> None:
        self._terminated = True
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """SIGTERM, if that has not been sent yet; the exit code."""
        if self.process.poll() is None and not self._terminated:
            self.terminate()
        try:
            return self.process.wait(timeout=60)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join(timeout=10)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self._clients.shutdown(wait=False, cancel_futures=True)
