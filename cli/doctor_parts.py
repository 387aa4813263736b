"""The parts of `torchserve doctor`'s archive. One that can't be had says why; nothing here fails as a whole."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import click

from ..core.config.keys import KEYS
from ..core.container_limits import available_cores
from ..core.errors import InvalidConfig
from ..core.interpreter_build import describe_interpreter
from ..core.logs.plan import log_folder
from ..core.version import __version__
from .client import Client
from .start import read_for_start
from .target import Target

MOST_MODELS = 200  # that are described
TAIL = 1 << 20  # bytes of each log
_WAIT = 10.0  # seconds for the server, and for each program
_DRIVERS = (
    ("nvidia-smi.txt", ("nvidia-smi", "-q")),
    ("gpu-topology.txt", ("nvidia-smi", "topo", "-m")),
    ("rocm-smi.txt", ("rocm-smi", "-a")),
)
_SYSTEM = ("/proc/driver/nvidia/version", "/proc/meminfo", "/proc/cpuinfo", "/etc/os-release")


@dataclass(frozen=True, slots=True)
class Part:
    """A file of the archive, or the reason why it is not there."""

    name: str
    data: bytes = b""
    missing: str = ""


def parts(target: Callable[[], Target], ts_config: Path | None, logs: Path | None) -> list[Part]:
    """Return all parts. `target` is called for the server to ask."""
    return [
        _part("versions.json", _versions),
        _part("configuration.json", lambda: _configuration(ts_config)),
        *[_part(name, lambda command=command: _said_by(command)) for name, command in _DRIVERS],
        *[_part(f"system/{Path(path).name}", lambda path=path: _head(Path(path))) for path in _SYSTEM],
        *_server(target),
        *_logs(logs or log_folder()),
    ]


def _part(name: str, make: Callable[[], bytes]) -> Part:
    try:
        return Part(name, make())
    except click.ClickException as error:
        return Part(name, missing=error.message)
    except Exception as error:  # noqa: BLE001  (a report with a part less is better than none)
        return Part(name, missing=" ".join(str(error).split()) or type(error).__name__)


def _as_json(value: object) -> bytes:
    return json.dumps(value, indent=2, default=str).encode()


def _versions() -> bytes:
    packages = {each.metadata["Name"]: each.version for each in metadata.distributions()}
    return _as_json(
        {
            "torchserve": __version__,
            "python": sys.version,
            "interpreter": describe_interpreter(),
            "executable": sys.executable,
            "platform": platform.platform(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "cores of this container": available_cores(),
            "environment": sorted(os.environ),  # names alone: a value may be a secret
            "packages": dict(sorted(packages.items(), key=lambda item: str(item[0]).lower())),
        }
    )


def _configuration(ts_config: Path | None) -> bytes:
    try:
        found = read_for_start(ts_config, None, [])
    except InvalidConfig as error:
        raise click.ClickException(str(error)) from None
    rows = {
        key.name: {"value": key.shown(getattr(found.settings, key.name)), "source": str(found.origin(key.name))}
        for key in KEYS.values()
    }
    return _as_json({"file": found.path, "settings": rows, "findings": [str(each.message) for each in found.findings]})


def _said_by(command: tuple[str, ...]) -> bytes:
    program = shutil.which(command[0])
    if program is None:
        raise click.ClickException(f"{command[0]} is not installed")
    done = subprocess.run([program, *command[1:]], capture_output=True, timeout=_WAIT, check=False)
    return done.stdout + done.stderr


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(TAIL)


def _server(target: Callable[[], Target]) -> Iterator[Part]:
    found: list[Target] = []

    def address() -> bytes:
        found.append(target())
        return f"{found[0].management} ({found[0].source})\n".encode()

    yield _part("server/address.txt", address)
    if not found:
        return
    with Client(found[0], _WAIT) as client:
        yield _part("server/models.json", lambda: _as_json(list(_models(client))))
        yield _part("server/metrics.txt", lambda: client.scrape().encode())


def _models(client: Client) -> Iterator[Any]:
    """Yield what the server tells of each model, all versions, with the last failures of its workers."""
    for model in islice(client.models(), MOST_MODELS):
        try:
            yield client.manage("GET", "models", model["modelName"], "all")
        except click.ClickException as error:
            yield {"modelName": model["modelName"], "error": error.message}


def _logs(folder: Path) -> Iterator[Part]:
    """Yield the ends of the logs in a folder, those that were put aside left out."""
    files = sorted(folder.glob("*.log")) if folder.is_dir() else []
    if not files:
        yield Part("logs", missing=f"there are none in {folder} (--logs)")
    for path in files[:32]:
        yield _part(f"logs/{path.name}", lambda path=path: _tail(path))


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        return file.read(TAIL)
