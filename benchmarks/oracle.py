"""The virtual environment that TorchServe runs in: a given one, or one made with pip and kept in the cache."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

VARIABLE = "TORCHSERVE_VENV"
VERSION = "0.12.0"
# What TorchServe needs beyond its wheel's dependencies. setuptools 81 no longer has pkg_resources.
_BESIDE = ("torch-model-archiver==0.12.0", "captum", "nvgpu", "pyyaml", "enum-compat", "requests", "setuptools<81")
_FINISHED = ".finished"  # written last: an interrupted installation has none
SAME = ("torch", "torchvision", "pillow", "numpy")


class NoOracleError(Exception):
    """An error for a machine on which TorchServe can't run. The message says what is missing."""


def find(given: Path | None) -> Path:
    """Return the environment `given` or named by $TORCHSERVE_VENV, or make one. Raises NoOracleError."""
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        raise NoOracleError(
            "TorchServe needs Java 17: no java on PATH and no JAVA_HOME (Debian: openjdk-17-jre-headless)"
        )
    named = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    venv = named or make_environment(f"torchserve-{VERSION}", _wanted())
    if not (venv / "bin" / "torchserve").exists():
        raise NoOracleError(f"{venv} holds no bin/torchserve")
    return venv.absolute()


def version(venv: Path) -> str:
    """Return what the environment's torchserve prints as its version."""
    done = subprocess.run(
        [venv / "bin" / "torchserve", "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout.strip() or f"unknown ({done.stderr.strip()[-200:]})"


def cache() -> Path:
    """Return the folder where environments and recorded runs are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torchserve-peers"


def make_environment(name: str, wanted: list[str], *, sees_ours: bool = False) -> Path:
    """Return the environment `name` in the cache, made with these packages if it does not exist. Raises
    NoOracleError.

    With `sees_ours` it has this environment's packages, too, so that only what is missing is installed.
    """
    venv = cache() / name
    if (venv / _FINISHED).exists():
        return venv.absolute()
    print(f"making {venv}: {' '.join(wanted)}", file=sys.stderr)
    shutil.rmtree(venv, ignore_errors=True)
    venv.parent.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        if sees_ours:
            packages = next((venv / "lib").glob("python3.*")) / "site-packages"
            (packages / "ours.pth").write_text("\n".join(site.getsitepackages() + _seen_by_us()) + "\n")
        subprocess.run([venv / "bin" / "python", "-m", "pip", "install", "--quiet", *wanted], check=True)
    except subprocess.CalledProcessError as error:
        raise NoOracleError(f"couldn't make {venv}: {error}") from error
    (venv / _FINISHED).touch()
    return venv.absolute()


def _seen_by_us() -> list[str]:
    """Return the folders of packages that this environment takes from others."""
    return [each for each in sys.path if each.endswith("site-packages") and each not in site.getsitepackages()]


def _wanted() -> list[str]:
    return [f"torchserve=={VERSION}", *_BESIDE, *_same_versions()]


def _same_versions() -> list[str]:
    """Return the libraries on which a model's speed depends, in the versions that our server runs with."""
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in SAME if installed(name)]


def installed(name: str) -> bool:
    """Return whether this environment has the package."""
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
