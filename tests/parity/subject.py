"""A server under comparison: the `torchserve` of an installation, started in a folder of its own with a setup's flags."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypeVar

import psutil

from ..ports import kept_ports
from . import archives, wars
from .plain import Namer
from .steps import Setup

T = TypeVar("T")
# As it is now: subjects start in threads, while pytest notes in os.environ which test it runs.
_ENVIRON = dict(os.environ)
_HIDDEN = ("TS_", "PYTHON", "COVERAGE", "COV_CORE", "VIRTUAL_ENV", "LOG_LOCATION", "METRICS_LOCATION")
_STARTED = "Model server started."


class NotStartedError(Exception):
    """The server did not come up; the text is the end of what it printed."""


def poll(check: Callable[[], T], seconds: float) -> T:
    """What `check` returns as soon as that is true, or its last value."""
    deadline = time.monotonic() + seconds
    while not (found := check()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


class Subject:
    """A context: inside it the server of `setup` runs, if the setup wants one, from the programs in `bin_folder`."""

    def __init__(self, bin_folder: Path, version: str, setup: Setup, home: Path) -> None:
        self.setup, self.home, self._bin = setup, home, bin_folder
        names = ("inference", "management", "metrics", "grpc", "grpc_management")
        self._kept = ExitStack()
        self.ports = dict(zip(names, self._kept.enter_context(kept_ports(len(names))), strict=True))
        known = {str(home): "<home>", str(bin_folder.parent): "<venv>"}
        self.namer = Namer(known | {str(port): f"<{name} port>" for name, port in self.ports.items()}, version)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Subject:
        for folder in ("store", "logs", "tmp"):
            (self.home / folder).mkdir(parents=True)
        for name in dict.fromkeys((*self.setup.archives, *(m.partition("=")[2] or m for m in self.setup.models))):
            if name in archives.ARCHIVES:
                archives.pack(name, self.home / "store")
            elif name in wars.WARS:
                wars.pack(name, self.home / "store")
        for path, text in self.setup.files:
            (self.home / path).parent.mkdir(parents=True, exist_ok=True)
            (self.home / path).write_text(self.fill(text))
        (self.home / "config.properties").write_text(self.fill(self._addresses() + self.setup.properties))
        if self.setup.start:
            try:
                self._start()
            except BaseException:
                self.__exit__()
                raise
        return self

    def _addresses(self) -> str:
        own = "" if "inference_address" in self.setup.properties else "".join(
            f"{face}_address=http://127.0.0.1:{{{face}}}\n" for face in ("inference", "management", "metrics")
        )  # fmt: skip
        return own + "grpc_inference_port={grpc}\ngrpc_management_port={grpc_management}\n"

    def _start(self) -> None:
        command = ["--start", "--foreground", "--ts-config", "config.properties", "--model-store", "store"]
        command += self.setup.flags
        if self.setup.models:
            command += ["--models", *self.setup.models]
        with (self.home / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [self.program("torchserve"), *command],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                cwd=self.home, env=self.environment(), start_new_session=True,
            )  # fmt: skip
        ended = poll(lambda: _STARTED in self.output() or self._process.poll() is not None, 90)
        if not ended or _STARTED not in self.output():
            raise NotStartedError(f"{self.setup.name}: {self.output()[-3000:]}")

    def output(self) -> str:
        return (self.home / "output").read_text(errors="replace")

    def program(self, name: str) -> str:
        return str(self._bin / name)

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in _ENVIRON.items() if not k.startswith(_HIDDEN)}
        own = dict.fromkeys(("TEMP", "TMP", "TMPDIR"), str(self.home / "tmp"))
        own |= dict.fromkeys(("LOG_LOCATION", "METRICS_LOCATION"), str(self.home / "logs"))
        own |= {"PARITY_HOME": str(self.home), "PATH": f"{self._bin}{os.pathsep}{kept.get('PATH', os.defpath)}"}
        return kept | own | {key: self.fill(value) for key, value in self.setup.env}

    def fill(self, text: str) -> str:
        """A text of the table with this run's folder, ports and tokens."""
        names = {"home": str(self.home)} | {name: str(port) for name, port in self.ports.items()}
        return re.sub(r"\{(key:)?(\w+)\}", lambda m: self._key(m[2]) if m[1] else names.get(m[2], m[0]), text)

    def _key(self, kind: str) -> str:
        if not (self.home / "key_file.json").exists():
            return "no key file"
        return json.loads((self.home / "key_file.json").read_text())[kind]["key"]

    def __exit__(self, *_: object) -> None:
        with self._kept:
            self._end()

    def _end(self) -> None:
        family = self._family()
        for process in family[:1] + [each for each in family[1:] if _runs_java(each)]:
            _send(process, signal.SIGTERM)
        family += self._background()
        _, alive = psutil.wait_procs(family, timeout=3 if self._process else 0)
        for process in {*alive, *self._family()}:
            _send(process, signal.SIGKILL)
        psutil.wait_procs(alive, timeout=5)
        if self._process is not None:
            self._process.wait(timeout=10)

    def remove(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)

    def _background(self) -> list[psutil.Process]:
        """The server that a row has started in the background, with its workers; at any moment it may have ended."""
        try:
            started = psutil.Process(int((self.home / "tmp" / ".model_server.pid").read_text()))
            return [started, *started.children(recursive=True)]
        except (OSError, ValueError, psutil.NoSuchProcess):
            return []

    def _family(self) -> list[psutil.Process]:
        if self._process is None:
            return []
        try:
            top = psutil.Process(self._process.pid)
            return [top, *top.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def _runs_java(process: psutil.Process) -> bool:
    """As TorchServe does below its command, which passes no signal on. Ours is the server itself."""
    try:
        return process.name() == "java"
    except psutil.NoSuchProcess:
        return False


def _send(process: psutil.Process, number: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)
