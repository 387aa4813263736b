"""A server under test as a group of processes: its folder and port, its start, its use of memory and processor, its
end.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.request import urlopen

import psutil

from .protocol_adapter import PLAIN, ProtocolAdapter

_HIDDEN = ("TS_", "PYTHON", "COVERAGE", "COV_CORE", "VIRTUAL_ENV")

_BEGUN = 1.0  # seconds after which a server has begun what it leaves for when it is idle
_MOMENT, _IDLE = 0.25, 0.15  # a server is idle if it used less than _IDLE cores for _MOMENT seconds


class NotServingError(Exception):
    """An error for a server that ended or did not answer in time. The message holds the end of its output."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A command that starts a server in its prepared folder."""

    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """The use of one process: its name, resident bytes, processor seconds so far, and how many of these in
    the kernel.
    """

    name: str
    memory: int
    seconds: float
    in_kernel: float


@dataclass(frozen=True, slots=True)
class Usage:
    """The use of the front process and of the other processes of a server."""

    of_front: ProcessUsage
    of_workers: tuple[ProcessUsage, ...]

    @property
    def front(self) -> int:
        """Return the resident bytes of the front process."""
        return self.of_front.memory

    @property
    def workers(self) -> int:
        """Return the resident bytes of all other processes."""
        return sum(each.memory for each in self.of_workers)

    @property
    def cpu_seconds(self) -> float:
        """Return the processor seconds of all processes."""
        return self.of_front.seconds + sum(each.seconds for each in self.of_workers)

    @property
    def kernel_seconds(self) -> float:
        """Return the processor seconds of all processes in the kernel."""
        return self.of_front.in_kernel + sum(each.in_kernel for each in self.of_workers)


class ServerProcess:
    """A context that starts a server of the virtual environment `venv`, and stops all its processes at the end.

    `predictions` is the URL to which requests are sent, in the format of the server's `adapter`.
    """

    ping = "/ping"
    adapter: ProtocolAdapter = PLAIN

    def __init__(self, name: str, venv: Path, port: int, path: str) -> None:
        self.name, self.port = name, port
        self.folder = Path(tempfile.mkdtemp(prefix=f"peers-{name}-"))
        self.url = f"http://127.0.0.1:{port}"
        self.predictions = f"{self.url}{path}"
        self._venv = venv
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._front: psutil.Process | None = None

    def prepare(self) -> Launch:
        """Write what the server needs to `folder`, where tmp and logs exist, and return how it is started."""
        raise NotServingError(f"{self.name}: nothing to start")

    def __enter__(self) -> Self:
        for name in ("logs", "tmp"):
            (self.folder / name).mkdir()
        launch = self.prepare()
        with (self.folder / "output").open("wb") as output:
            self._started = time.monotonic()
            self._process = subprocess.Popen(
                launch.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**self._environment(), **launch.environment},
                start_new_session=True,
            )
        return self

    def _environment(self) -> dict[str, str]:
        """Return this process's environment without variables that would affect only one of the servers."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(_HIDDEN)}
        # TorchServe's sockets follow TEMP only.
        own = dict.fromkeys(("TEMP", "TMP", "TMPDIR"), str(self.folder / "tmp"))
        return {**kept, "PATH": f"{self._venv / 'bin'}{os.pathsep}{kept.get('PATH', os.defpath)}", **own}

    def wait_for_ping(self, seconds: float = 180) -> float:
        """Wait until the server answers `ping` with status 200, and return the seconds since its start.

        Raises NotServingError.
        """
        deadline = self._started + seconds
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise NotServingError(f"{self.name} ended: {self.tail()}")
            with suppress(HTTPException, OSError), urlopen(f"{self.url}{self.ping}", timeout=5) as answer:
                if answer.status == 200:
                    return self.age()
            time.sleep(0.01)
        raise NotServingError(f"{self.name} gave no 200 on {self.ping} in {seconds:.0f} s: {self.tail()}")

    def age(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._started

    def tail(self, lines: int = 15) -> str:
        """Return the end of what the server printed."""
        output = self.folder / "output"
        return "\n".join(output.read_text(errors="replace").splitlines()[-lines:]) if output.exists() else ""

    def usage(self) -> Usage:
        """Return what the server's processes use. Raises NotServingError if the front has ended."""
        process = self.front()
        workers = tuple(held for child in self.others(process) if (held := _process_usage(child)))
        front = _process_usage(process)
        if front is None:
            raise NotServingError(f"{self.name}'s front process has gone: {self.tail()}")
        return Usage(front, workers)

    def rest(self, seconds: float = 20.0) -> None:
        """Wait until the server is idle, at most `seconds`.

        A server may go on with requests that its clients no longer wait for, and take cores from the server measured
        next.
        """
        deadline, spent = time.monotonic() + seconds, self.usage().cpu_seconds
        while time.monotonic() < deadline:
            time.sleep(_MOMENT)
            before, spent = spent, self.usage().cpu_seconds
            if spent - before < _IDLE * _MOMENT:
                return

    def settle(self) -> None:
        """Wait until the started server has done what it leaves for when it is idle: this one tries then what makes a
        model faster. A minute at most.
        """
        time.sleep(_BEGUN)
        self.rest(60.0)

    def others(self, front: psutil.Process) -> list[psutil.Process]:
        """Return the server's processes except the front."""
        return front.children(recursive=True)

    def front(self) -> psutil.Process:
        """Return the process that answers requests."""
        if self._front is None:
            self._front = self._listener()
        return self._front

    def _listener(self) -> psutil.Process:
        """Return the process that listens on `port`. The started command may only be its launcher."""
        for process in self.family():
            try:
                connections = process.net_connections(kind="tcp")
            except psutil.Error:
                continue
            listening = {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}
            if self.port in listening:
                return process
        raise NotServingError(f"no process of {self.name} listens on {self.url}: {self.tail()}")

    def family(self) -> list[psutil.Process]:
        """Return all processes of this server: its session, orphans included, and all descendants of its launcher."""
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
        # A second Ctrl-C must not interrupt the cleaning up.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            self._stop()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _stop(self) -> None:
        family = self.family()
        front = [process for process in family if process == self._front]
        for process in front or family:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        psutil.wait_procs(family, timeout=20)
        alive = {process for process in family if process.is_running()} | set(self.family())
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=5)
        if self._process is not None:
            self._process.poll()
        shutil.rmtree(self.folder, ignore_errors=True)


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _process_usage(process: psutil.Process) -> ProcessUsage | None:
    try:
        times = process.cpu_times()
        return ProcessUsage(process.name(), process.memory_info().rss, times.user + times.system, times.system)
    except psutil.Error:
        return None


def free_ports(count: int) -> list[int]:
    """Return different ports that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports
