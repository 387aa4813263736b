"""A server of this tree with small models, for programs that compare it with itself."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path

import psutil

from .process import free_ports

BODY = bytes(1000)
_SERVING = 60.0  # seconds in which a server answers its first request


class OwnServer:
    """A server of this tree with models of its own, in a temporary folder."""

    def __init__(
        self, folder: Path, models: dict[str, str], wars: dict[str, str] | None = None, *,
        yaml: str = "", properties: str = "",
    ) -> None:  # fmt: skip
        """Start it. `models` are handlers by name, each of which is served with the model-config.yaml `yaml`."""
        store = folder / "store"
        store.mkdir(parents=True)
        for name, handler in models.items():
            pack_model(store / f"{name}.mar", name, handler, yaml)
        for name, spec in (wars or {}).items():
            workflow = {"workflow": {"workflowName": name, "specFile": "spec.yaml"}}
            pack(store / f"{name}.war", {"WAR-INF/MANIFEST.json": json.dumps(workflow), "spec.yaml": spec})
        self.port, self.management, metrics = free_ports(3)
        places = zip(("inference", "management", "metrics"), (self.port, self.management, metrics), strict=True)
        lines = [f"{name}_address=http://127.0.0.1:{port}" for name, port in places]
        config = folder / "c.properties"
        _ = config.write_text("\n".join([*lines, "enable_grpc=false", "default_workers_per_model=1", properties, ""]))
        command = [sys.executable, "-m", "torchserve.cli.main", "--start", "--foreground", "--ncs", "--model-store"]
        command += [str(store), "--ts-config", str(config), "--models", *(f"{m}.mar" for m in models)]
        environment = os.environ | {"TMPDIR": str(folder)}  # where the pid file is
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def serve(self, models: Iterable[str], wars: Iterable[str] = ()) -> None:
        """Wait until the models are served, and register the workflows."""
        for name in models:
            self._until_served(f"/predictions/{name}")
        for name in wars:
            connection = http.client.HTTPConnection("127.0.0.1", self.management)
            connection.request("POST", f"/workflows?url={name}.war")
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            connection.close()

    def _until_served(self, path: str) -> None:
        deadline = time.monotonic() + _SERVING
        while True:
            try:
                if ask(http.client.HTTPConnection("127.0.0.1", self.port), path):
                    return
            except (OSError, http.client.HTTPException):
                pass
            assert time.monotonic() < deadline, f"{path} is not served"
            time.sleep(0.1)

    def processor(self) -> float:
        """Return the seconds of processor time that the server and its workers have taken."""
        family = psutil.Process(self.process.pid)
        times = [each.cpu_times() for each in (family, *family.children(recursive=True))]
        return sum(each.user + each.system for each in times)

    def stop(self) -> None:
        """End the server."""
        self.process.terminate()
        self.process.wait()


def pack(path: Path, files: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


def pack_model(path: Path, name: str, handler: str, yaml: str = "", version: str = "1.0") -> None:
    """Write an archive of one handler."""
    manifest = {"model": {"modelName": name, "modelVersion": version, "handler": "handler.py"}}
    files = {"handler.py": handler}
    if yaml:
        manifest["model"]["configFile"] = "model-config.yaml"
        files["model-config.yaml"] = yaml
    pack(path, {"MAR-INF/MANIFEST.json": json.dumps(manifest), **files})


def ask(connection: http.client.HTTPConnection, path: str) -> bytes:
    """Return the body of an answer, b"" if it is none."""
    connection.request("POST", path, BODY, {"content-type": "application/octet-stream"})
    answer = connection.getresponse()
    body = answer.read()
    return body if answer.status == 200 else b""
