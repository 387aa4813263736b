"""Starts mosec, LitServe, Triton, BentoML and Ray Serve around a workload's handler, in environments made on demand."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from .oracle import make_environment
from .process import Launch, ServerProcess, free_ports
from .protocol_adapter import JSON_LISTS, PLAIN, RAW_TENSORS, ProtocolAdapter
from .workload import Workload

_ADAPTERS = Path(__file__).with_name("rivals")
_STRING = "data_type: TYPE_STRING, dims: [1]"


@dataclass(frozen=True, slots=True)
class RivalKind:
    """A kind of server: what pip installs, how it is started, and the paths of its health check and its predictions.

    `strings` says that the adapter for it accepts JSON strings only.
    """

    package: str
    launch: Callable[[Path, int, Path, Workload], Launch]  # the handler's variables are added to its environment
    ping: str
    path: str
    adapter: ProtocolAdapter = PLAIN
    strings: bool = False


def _mosec(venv: Path, port: int, _folder: Path, _workload: Workload) -> Launch:
    python, app = str(venv / "bin" / "python"), str(_ADAPTERS / "mosec_app.py")
    words = ["--address", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    return Launch([python, app, *words])


def _litserve(venv: Path, port: int, _folder: Path, _workload: Workload) -> Launch:
    return Launch([str(venv / "bin" / "python"), str(_ADAPTERS / "litserve_app.py"), str(port)])


def _bentoml(venv: Path, port: int, folder: Path, _workload: Workload) -> Launch:
    words = ["serve", "bentoml_app:Served", "--working-dir", str(_ADAPTERS), "--host", "127.0.0.1", "--port", str(port)]
    home = {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    return Launch([str(venv / "bin" / "bentoml"), *words], home)


def _ray(venv: Path, port: int, folder: Path, _workload: Workload) -> Launch:
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(_ADAPTERS)}
    return Launch([str(venv / "bin" / "python"), str(_ADAPTERS / "ray_app.py"), str(port)], quiet)


def _triton(venv: Path, port: int, folder: Path, workload: Workload) -> Launch:
    """Lay out Triton: pytriton's binary, its Python backend and the stub for this Python, and the model's
    configuration.
    """
    packages = packages_of(venv)
    bundled, backend = packages / "pytriton" / "tritonserver", folder / "backends" / "python"
    shutil.copytree(bundled / "backends" / "python", backend)
    stub = bundled / "python_backend_stubs" / packages.parent.name.removeprefix("python") / "triton_python_backend_stub"
    shutil.copy2(stub, backend)
    model = folder / "models" / workload.name
    (model / "1").mkdir(parents=True)
    shutil.copy2(_ADAPTERS / "triton_model.py", model / "1")
    shutil.copy2(_ADAPTERS / "serving.py", model / "1")  # Triton's process does not inherit PYTHONPATH
    (model / "config.pbtxt").write_text(
        f'name: "{workload.name}" backend: "python" default_model_filename: "triton_model.py"\n'
        f"max_batch_size: {workload.batch}\n"
        f'input [{{ name: "IN", {_STRING} }}] output [{{ name: "OUT", {_STRING} }}]\n'
        f"dynamic_batching {{ max_queue_delay_microseconds: {workload.delay_ms * 1000} }}\n"
        "instance_group [{ count: 1, kind: KIND_CPU }]\n"
    )
    command = [
        str(bundled / "bin" / "tritonserver"), "--model-repository", str(folder / "models"),
        "--backend-directory", str(folder / "backends"), "--http-address", "127.0.0.1", "--http-port", str(port),
        "--allow-grpc=false", "--allow-metrics=false",
    ]  # fmt: skip
    libraries = ":".join(str(path) for path in packages.glob("*.libs"))
    return Launch(command, {"LD_LIBRARY_PATH": libraries, "PYTHONPATH": str(packages)})


def handed(workload: Workload, handlers: Path, folder: Path) -> dict[str, str]:
    """Return the variables that rivals/serving.py reads. The archive is unpacked in `folder`.

    `handlers` is the environment whose `ts` and torch are used.
    """
    model = folder / workload.archive.stem
    with zipfile.ZipFile(workload.archive) as archive:
        archive.extractall(model)
    return {
        "RIVAL_MODEL": str(model), "RIVAL_PACKAGES": str(packages_of(handlers)), "RIVAL_BATCH": str(workload.batch),
        "RIVAL_DELAY_MS": str(workload.delay_ms),
    }  # fmt: skip


def packages_of(venv: Path) -> Path:
    """Return the environment's site-packages."""
    return next((venv / "lib").glob("python3.*")) / "site-packages"


KINDS: Mapping[str, RivalKind] = {
    "mosec": RivalKind("mosec", _mosec, "/", "/inference"),
    "litserve": RivalKind("litserve", _litserve, "/health", "/predict", strings=True),
    "bentoml": RivalKind("bentoml", _bentoml, "/readyz", "/predict", JSON_LISTS, strings=True),
    "ray": RivalKind("ray[serve]", _ray, "/-/healthz", "/predict"),
    "triton": RivalKind("nvidia-pytriton", _triton, "/v2/health/ready", "/v2/models/{name}/infer", RAW_TENSORS),
}


class Rival(ServerProcess):
    """A server of one of KINDS around a workload's handler, which finds torch and `ts` in the environment
    `handlers`.
    """

    def __init__(self, name: str, venv: Path, workload: Workload, handlers: Path) -> None:
        (port,) = free_ports(1)
        kind = KINDS[name]
        super().__init__(name, venv, port, kind.path.format(name=workload.name))
        self.ping, self.adapter = kind.ping, kind.adapter
        self._kind, self._workload, self._handlers = kind, workload, handlers

    def others(self, front: psutil.Process) -> list[psutil.Process]:
        # mosec's workers are siblings of the process that answers, not its children.
        return [process for process in self.family() if process != front]

    def prepare(self) -> Launch:
        launch = self._kind.launch(self._venv, self.port, self.folder, self._workload)
        told = handed(self._workload, self._handlers, self.folder / "model")
        return Launch(launch.command, {**told, **launch.environment})


def find_rival(name: str) -> Path:
    """Return the rival's environment, made with pip if needed. Raises NoOracleError."""
    return make_environment(name, [KINDS[name].package])


def rival_version(name: str, venv: Path) -> str:
    """Return the name and version of the installed package."""
    package = KINDS[name].package.partition("[")[0]
    script = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([venv / "bin" / "python", "-c", script], capture_output=True, text=True, check=False)
    return f"{package} {done.stdout.strip() or 'of an unknown version'}"
