"""A server under test: its own folder, ports and configuration, its start, its processes, its end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.request import urlopen

import psutil

from .workload import Workload

_HIDDEN = ("TS_", "PYTHON", "COVERAGE", "COV_CORE", "VIRTUAL_ENV")
_ADDRESSES: tuple[str, ...] = ("inference_address", "management_address", "metrics_address")
_GRPC: tuple[str, ...] = ("grpc_inference_port", "grpc_management_port")
JOB_QUEUE_SIZE = 1000
VARIANTS = Path(__file__).with_name("variants.py")


class NotServingError(Exception):
    """The server ended, or didn't answer in time; the text holds the end of its output."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a server is run, where not the plain way: more configuration, keys asked for, a variant of ours."""

    properties: str = ""
    tokens: bool = False
    variant: str | None = None


PLAIN = Manner()


@dataclass(frozen=True, slots=True)
class Usage:
    """Resident bytes and processor seconds so far, of the front process and of all below it."""

    front: int
    workers: int
    cpu_seconds: float


class Server:
    """A context: entering starts the server of the virtual environment `venv`, leaving stops all of its processes."""

    def __init__(self, name: str, venv: Path, workload: Workload, manner: Manner = PLAIN) -> None:
        if not (venv / "bin" / "torchserve").exists():
            raise NotServingError(f"{name}: no bin/torchserve in {venv}")
        self.name, self.workload, self._manner = name, workload, manner
        self.folder = Path(tempfile.mkdtemp(prefix=f"peers-{name}-"))
        self.ports: dict[str, int] = dict(
            zip((*_ADDRESSES, *_GRPC), _free_ports(len(_ADDRESSES) + len(_GRPC)), strict=True)
        )
        self.url = f"http://127.0.0.1:{self.ports['inference_address']}"
        self.management = f"http://127.0.0.1:{self.ports['management_address']}"
        self.metrics = f"http://127.0.0.1:{self.ports['metrics_address']}"
        self.predictions = f"{self.url}/predictions/{workload.name}"
        self._venv = venv
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._front: psutil.Process | None = None

    def __enter__(self) -> Self:
        for name in ("store", "logs", "tmp"):
            (self.folder / name).mkdir()
        shutil.copy2(self.workload.archive, self.folder / "store")
        config = self.folder / "config.properties"
        config.write_text(properties(self.ports) + self._manner.properties)
        command = [
            *self._program(),
            "--start",
            "--foreground",
            "--ts-config",
            str(config),
            "--model-store",
            str(self.folder / "store"),
            "--ncs",
            *([] if self._manner.tokens else ["--disable-token-auth"]),
            "--enable-model-api",
            "--models",
            f"{self.workload.name}={self.workload.archive.name}",
        ]
        with (self.folder / "output").open("wb") as output:
            self._started = time.monotonic()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self._environment(),
                start_new_session=True,
            )
        return self

    def _program(self) -> list[str]:
        if self._manner.variant is None:
            return [str(self._venv / "bin" / "torchserve")]
        return [str(self._venv / "bin" / "python"), "-P", str(VARIANTS), self._manner.variant]

    def key(self, kind: str = "inference") -> str:
        """The key that this server wrote down at its start, "" where it asks for none."""
        file = self.folder / "key_file.json"
        return json.loads(file.read_text())[kind]["key"] if self._manner.tokens else ""

    def _environment(self) -> dict[str, str]:
        """The caller's, without what would steer one server and not the other; each has its own temp and log folder."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(_HIDDEN)}
        own = dict.fromkeys(("TEMP", "TMP", "TMPDIR"), self.folder / "tmp")  # TorchServe's sockets follow TEMP only
        own |= dict.fromkeys(("LOG_LOCATION", "METRICS_LOCATION"), self.folder / "logs")
        path = f"{self._venv / 'bin'}{os.pathsep}{kept.get('PATH', os.defpath)}"
        return {**kept, "PATH": path, **{key: str(folder) for key, folder in own.items()}}

    def wait_for_ping(self, seconds: float = 180) -> float:
        """Seconds from the start until /ping answers 200."""
        deadline = self._started + seconds
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise NotServingError(f"{self.name} ended: {self.tail()}")
            with suppress(HTTPException, OSError), urlopen(f"{self.url}/ping", timeout=5) as answer:
                if answer.status == 200:
                    return self.age()
            time.sleep(0.01)
        raise NotServingError(f"{self.name} gave no 200 on /ping in {seconds:.0f} s: {self.tail()}")

    def age(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def tail(self, lines: int = 15) -> str:
        """The end of what the server printed."""
        output = self.folder / "output"
        return "\n".join(output.read_text(errors="replace").splitlines()[-lines:]) if output.exists() else ""

    def usage(self) -> Usage:
        """What the front process and the processes below it hold and have spent."""
        process = self.front()
        workers = [use for child in process.children(recursive=True) if (use := _use(child))]
        front = _use(process)
        if front is None:
            raise NotServingError(f"{self.name}'s front process has gone: {self.tail()}")
        return Usage(front[0], sum(use[0] for use in workers), front[1] + sum(use[1] for use in workers))

    def front(self) -> psutil.Process:
        """The process that answers."""
        if self._front is None:
            self._front = self._listener()
        return self._front

    def _listener(self) -> psutil.Process:
        """The front is the process that listens on the inference port; the command may only be its launcher."""
        for process in self._family():
            try:
                connections = process.net_connections(kind="tcp")
            except psutil.Error:
                continue
            listening = {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}
            if self.ports["inference_address"] in listening:
                return process
        raise NotServingError(f"no process of {self.name} listens on {self.url}: {self.tail()}")

    def _family(self) -> list[psutil.Process]:
        """Every process of this server: its session, orphans included, and all that descends from its launcher."""
        if self._process is None:
            return []
        session = self._process.pid
        family = {process for process in psutil.process_iter() if _session(process.pid) == session}
        with suppress(psutil.NoSuchProcess):
            family.update(psutil.Process(session).children(recursive=True))
        return sorted(family, key=lambda process: process.pid)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # a second Ctrl-C may wait
        try:
            self._stop()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _stop(self) -> None:
        family = self._family()
        front = [process for process in family if process == self._front]
        for process in front or family:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        psutil.wait_procs(family, timeout=20)
        alive = {process for process in family if process.is_running()} | set(self._family())
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=5)
        shutil.rmtree(self.folder, ignore_errors=True)


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _use(process: psutil.Process) -> tuple[int, float] | None:
    try:
        times = process.cpu_times()
        return process.memory_info().rss, times.user + times.system
    except psutil.Error:
        return None


def properties(ports: dict[str, int]) -> str:
    """config.properties for either server: loopback, these ports, room for every connection's request."""
    lines = [f"{name}=http://127.0.0.1:{ports[name]}" for name in _ADDRESSES]
    lines += [f"{name}={ports[name]}" for name in _GRPC]
    return "\n".join([*lines, f"job_queue_size={JOB_QUEUE_SIZE}", "default_workers_per_model=1", ""])


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago; all held at once, so that no two are the same."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports
