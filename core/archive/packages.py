"""Packages: installs a model's own Python packages into an environment that is made once and kept.

An environment sees the server's packages behind its own. Its key is made of the text of requirements.txt, the archive's
files which that names, and the interpreter. A shared lock keeps other servers from removing it while this one uses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import PackagesFailed
from ..trusted_file import NotTrusted, check_folder, open_trusted, user
from ..user_folders import cache_path
from .reader import Archive

log = logging.getLogger(__name__)

UNUSED = 30 * 86400.0  # seconds after which an environment that no server uses is removed
_POLL = 0.1  # seconds between checks whether another server has finished the same environment
_DONE = "complete"
_SITES = "import json, sys; print(json.dumps([p for p in sys.path if p.endswith(('site-packages', 'dist-packages'))]))"
_WORD = re.compile(r"[\s=,;\"']+")


@dataclass(frozen=True, slots=True)
class ModelPython:
    """The interpreter of a model's workers, None for the server's choice, and folders to import from before its own."""

    interpreter: str | None = None
    path: tuple[str, ...] = ()

    def extend(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return `environment` with these folders on PYTHONPATH."""
        if not self.path:
            return dict(environment)
        folders = [*self.path, *filter(None, [environment.get("PYTHONPATH")])]
        return {**environment, "PYTHONPATH": os.pathsep.join(folders)}


def default_folder() -> Path:
    """Return the place of the environments in the user's cache folder."""
    return cache_path("packages")


class Packages:
    """The environments of models' packages. `install` says whether requirements are installed at all; `environment`
    holds the environment variables that pip gets.
    """

    def __init__(self, folder: Path, python: str | None, environment: Mapping[str, str], *, install: bool) -> None:
        self._folder = folder
        self._python = python or sys.executable
        self._environment = dict(environment)
        self._install = install
        self._locks: dict[str, int] = {}  # shared locks' descriptors by key, held until the process ends
        self._gates: dict[str, asyncio.Lock] = {}

    async def prepare(self, archive: Archive, model: str, *, use_venv: bool) -> ModelPython:
        """Install the packages that the archive requires, unless they are installed already.

        Raises PackagesFailed with pip's whole output.
        """
        name = archive.manifest.requirements_file
        requirements = archive.model_dir / name if name else None
        if requirements is not None and not self._install:
            log.warning("%s of model %s is not installed: install_py_dep_per_model is not true", name, model)
            requirements = None
        if requirements is None and not use_venv:
            return ModelPython()
        try:
            key = await asyncio.to_thread(environment_key, requirements, archive.model_dir, self._python)
            async with self._gates.setdefault(key, asyncio.Lock()):
                venv = await self._environment_for(key, requirements, archive.model_dir)
        except _Failed as error:
            raise PackagesFailed(f"Custom pip package installation failed for model {model}\n{error}") from None
        except OSError as error:
            raise PackagesFailed(f"Custom pip package installation failed for model {model}: {error}") from error
        if use_venv:
            return ModelPython(str(venv / "bin" / "python"))
        return ModelPython(path=tuple(str(folder) for folder in _sites(venv)))

    async def _environment_for(self, key: str, requirements: Path | None, folder: Path) -> Path:
        venv = self._folder / key
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check(self._folder)
        if key not in self._locks:
            self._locks[key] = open_trusted(self._folder / f"{key}.lock", os.O_RDWR | os.O_CREAT)
        lock = self._locks[key]
        while True:
            if _locked(lock, fcntl.LOCK_SH) and (venv / _DONE).exists():
                self._check(venv)
                (venv / _DONE).touch()
                return venv
            fcntl.flock(lock, fcntl.LOCK_UN)
            if _locked(lock, fcntl.LOCK_EX):
                break
            await asyncio.sleep(_POLL)
        if not (venv / _DONE).exists():
            try:
                await self._make(venv, requirements, folder)
            except BaseException:
                await asyncio.to_thread(shutil.rmtree, venv, ignore_errors=True)
                os.close(self._locks.pop(key))
                raise
        fcntl.flock(lock, fcntl.LOCK_SH)
        await asyncio.to_thread(self.sweep, time.time())
        return venv

    def _check(self, folder: Path) -> None:
        """Raise _Failed unless `folder` and its files are ours or root's: the workers run what lies in it."""
        try:
            check_folder(folder)
        except NotTrusted as error:
            raise _Failed(
                f"{folder} is not used: {error.strerror}. Let package_folder name a folder of {user(os.geteuid())}: one"
                " that is not there yet is made."
            ) from None

    async def _make(self, venv: Path, requirements: Path | None, folder: Path) -> None:
        await asyncio.to_thread(shutil.rmtree, venv, ignore_errors=True)
        await self._run([self._python, "-P", "-m", "venv", "--without-pip", str(venv)], folder)
        told = await self._run([self._python, "-P", "-c", _SITES], folder)
        (own,) = _sites(venv)
        # addsitedir reads the folder's .pth files too, by which packages installed as editable are found.
        lines = [f"import site; site.addsitedir({path!r})\n" for path in json.loads(told)]
        (own / "zz_server_packages.pth").write_text("".join(lines))
        if requirements is not None:
            log.info("Installing %s into %s", requirements.name, venv)
            command = [str(venv / "bin" / "python"), "-P", "-m", "pip", "install", "--disable-pip-version-check"]
            await self._run([*command, "--no-input", "-r", str(requirements)], folder)
        (venv / _DONE).touch()

    async def _run(self, command: Sequence[str], folder: Path) -> str:
        """Run `command` and return its output. Raises _Failed with that output if it fails.

        The process is killed if this call is cancelled or the server ends.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output, _ = await process.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        text = output.decode("utf-8", "replace")
        if process.returncode:
            raise _Failed(text.strip() or f"{command[0]} ended with code {process.returncode}")
        return text

    def sweep(self, now: float) -> None:
        """Remove environments that no server uses and that were last used UNUSED seconds before `now` (Unix time)."""
        for done in self._folder.glob(f"*/{_DONE}"):
            with contextlib.suppress(OSError):
                if now - done.stat().st_mtime < UNUSED:
                    continue
                with _exclusive(self._folder / f"{done.parent.name}.lock") as alone:
                    if alone:
                        shutil.rmtree(done.parent, ignore_errors=True)


class _Failed(Exception):
    """A failure of a command; the text is all of its output."""


def environment_key(requirements: Path | None, folder: Path, python: str) -> str:
    """Return the key of the environment for these requirements; `folder` is the model's. Raises OSError."""
    digest = hashlib.sha256(f"{Path(python).absolute()}\0{os.path.realpath(python)}\0".encode())
    if requirements is not None:
        for path in _named(requirements, folder):
            digest.update(f"{path.relative_to(folder)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


def _named(requirements: Path, folder: Path) -> Iterator[Path]:
    """Yield requirements.txt and those of the archive's files that it names: `-r more.txt`, a wheel, a folder of
    wheels.
    """
    yield requirements
    for word in sorted(set(_WORD.split(requirements.read_text("utf-8", "replace")))):
        path = (folder / word.removeprefix("file:")) if word not in {"", ".", "/"} else folder
        with contextlib.suppress(OSError, ValueError):
            if path != folder and path.resolve().is_relative_to(folder.resolve()):
                yield from sorted(each for each in ([path] if path.is_file() else path.rglob("*")) if each.is_file())


def _sites(venv: Path) -> list[Path]:
    return sorted(venv.glob("lib/python3*/site-packages"))


def _locked(lock: int, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[bool]:
    lock = open_trusted(path, os.O_RDWR | os.O_CREAT)
    try:
        yield _locked(lock, fcntl.LOCK_EX)
    finally:
        os.close(lock)
