"""What a reader must know to judge a report's figures: machine, versions, and the servers' configuration."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import psutil
from torchserve.core import interpreter_build
from torchserve.core.container_limits import available_cores

from . import oracle
from .config_override import read_config
from .report import OURS, PEER
from .rival import KINDS, find_rival, rival_version
from .servers import settings


def environments(options: argparse.Namespace) -> dict[str, Path]:
    """Return the virtual environment of each server that takes part, TorchServe's first."""
    venvs = {} if options.only == OURS else {PEER: oracle.find(options.torchserve_venv)}
    venvs |= {name: find_rival(name) for name in options.rivals}
    return venvs if options.only == PEER else {**venvs, OURS: options.our_venv.absolute()}


def handlers(options: argparse.Namespace) -> Path:
    """Return the environment whose handlers and torch the rivals run."""
    return oracle.find(options.torchserve_venv) if options.handlers == PEER else options.our_venv.absolute()


def environment(options: argparse.Namespace, venvs: dict[str, Path], generator: str) -> dict[str, object]:
    """Return the lines at the top of a report, by name."""
    return {
        "machine": f"{available_cores():g} cores, {_processor()}, Linux {platform.release()}",
        "load average before": ", ".join(f"{load:.2f}" for load in os.getloadavg()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "Python": f"{_interpreters(venvs)}, {_libraries()}",
        **{name: (rival_version if name in KINDS else _version)(name, venv) for name, venv in venvs.items()},
        **({"handlers of the rivals": options.handlers} if options.rivals else {}),
        "generator": f"{generator}, one thread, closed loop, same host",
        "method": f"{options.rounds} rounds of {options.seconds:g} s, servers in turn, "
        f"after {options.warmup:g} s of warm-up",
        "config.properties beside the addresses": ", ".join(settings()),
    }


def _libraries() -> str:
    """Return the versions of libraries in this environment, which are the same in TorchServe's."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in oracle.SAME if oracle.installed(name))


def _interpreters(venvs: dict[str, Path]) -> str:
    """Return which Python each environment has, and how it was built, once for those that have the same."""
    script = str(Path(interpreter_build.__file__))
    found: dict[str, list[str]] = {}
    for name, venv in venvs.items():
        program = venv / "bin" / "python"
        if program.exists():  # Triton has none
            done = subprocess.run([program, "-P", script], capture_output=True, text=True, timeout=60, check=False)
            line = done.stdout.strip().removeprefix("Python ") or "an unknown one"
            found.setdefault(line, []).append(name)
    if len(found) == 1:
        return next(iter(found))
    return ", ".join(f"{line} ({', '.join(names)})" for line, names in found.items())


def _version(_name: str, venv: Path) -> str:
    return oracle.version(venv)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def configuration(archive: Path) -> str:
    """Return an archive's options on one line."""
    return ", ".join(f"{name} {value}" for name, value in read_config(archive).items()) or "none of its own"
