"""The real Triton as a subject of the comparison: a context in which it serves the models."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import grpc

from benchmarks.process import free_ports

from ..subject import NotStartedError, poll
from ..wire import Silence, exchange, request
from . import models


class Triton:
    """A context: inside it Triton serves, out of an environment into which pip has installed nvidia-pytriton."""

    def __init__(self, venv: Path, home: Path) -> None:
        self._packages = next((venv / "lib").glob("python3.*")) / "site-packages"
        self._venv, self._home = venv, home
        self.ports: dict[str, int] = dict(zip(("inference", "grpc"), free_ports(2), strict=True))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Triton:
        bundled, backends = self._packages / "pytriton" / "tritonserver", self._home / "backends"
        shutil.copytree(bundled / "backends" / "python", backends / "python")
        python = self._packages.parent.name.removeprefix("python")
        shutil.copy2(bundled / "python_backend_stubs" / python / "triton_python_backend_stub", backends / "python")
        models.there(self._home / "models")
        command = [
            str(bundled / "bin" / "tritonserver"), "--model-repository", str(self._home / "models"),
            "--backend-directory", str(backends), "--allow-metrics=false", "--model-control-mode=explicit",
            "--http-address=127.0.0.1", f"--http-port={self.ports['inference']}",
            "--grpc-address=127.0.0.1", f"--grpc-port={self.ports['grpc']}",
            *(f"--load-model={name}" for name in models.LOADED),
        ]  # fmt: skip
        env = os.environ | {
            "LD_LIBRARY_PATH": ":".join(map(str, self._packages.glob("*.libs"))),
            "PYTHONPATH": str(self._packages),
            "PATH": f"{self._venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }
        output = self._home / "output"
        with output.open("wb") as out:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env)
        if not poll(self._serves, 120) or self._process.poll() is not None:
            self.__exit__()
            raise NotStartedError(output.read_text(errors="replace")[-3000:])
        return self

    def _serves(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            return True
        port = self.ports["inference"]
        try:
            ready = exchange(port, request("GET", "/v2/health/ready", [], b"", port), 5)["status"] == 200
            with grpc.insecure_channel(f"127.0.0.1:{self.ports['grpc']}") as channel:
                grpc.channel_ready_future(channel).result(5)
        except (Silence, grpc.FutureTimeoutError):
            return False
        return ready

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
