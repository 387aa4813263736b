"""Starts the fork server before the front's own modules are imported, so that torch is imported meanwhile.

Which models a start loads is known from the settings, and what their handlers import from their archives. What is read
wrongly here costs time only: the launcher reads it again from what was unpacked.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ..archive.limits import Limits
from ..archive.manifest import MANIFEST_PATH
from ..archive.store import list_store
from ..archive.unzip import bound_directory
from ..config.settings import Settings
from ..container_limits import available_cores
from ..errors import ServeError
from .fork_server_process import ForkServerProcess
from .preloads import MOST_TEXT, preloadable
from .threads import threads_per_worker
from .worker_environment import worker_environment

log = logging.getLogger(__name__)

_MOST = 20  # archives that are looked into
# What is raised for archives that are not there, torn, or none: who loads them says so.
_WRONG = (
    OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, zipfile.BadZipFile, zlib.error, ServeError,
)  # fmt: skip
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_begun: list[ForkServerProcess] = []


def begin(settings: Settings) -> None:
    """Start the fork server if a model that is loaded at start gains from it; `take` returns it. Never raises."""
    if not settings.fork_workers or settings.engine != "local" or settings.model_store is None or _begun:
        return
    try:
        modules = _modules(settings.model_store, settings.load_models)
        if modules:
            environment = worker_environment(
                os.environ,
                hidden=settings.blacklist_env_vars,
                gpus=(),
                threads=threads_per_worker(1, available_cores()),
            )
            _begun.append(ForkServerProcess(settings.python or sys.executable, environment, modules))
    except (OSError, ServeError) as error:
        log.info("The fork server is not started early: %s", error)


def take() -> ForkServerProcess | None:
    """Return the process that `begin` has started, once."""
    return _begun.pop() if _begun else None


def _modules(store: Path, entries: tuple[str, ...]) -> tuple[str, ...]:
    """Return what the handlers of the models import, in the order of PRELOADABLE's first need."""
    names = list_store(store) if entries == ("all",) else [entry.rpartition("=")[2].strip() for entry in entries]
    found: dict[str, None] = {}
    for name in names[:_MOST]:
        with contextlib.suppress(*_WRONG):
            found.update(dict.fromkeys(handler_modules(store / name)))
    return tuple(found)


def handler_modules(archive: Path) -> tuple[str, ...]:
    """Return what the handler of an archive or folder imports. Raises what reading raises."""
    with _reader(archive) as read:
        handler = json.loads(read(MANIFEST_PATH))["model"]["handler"].partition(":")[0].removesuffix(".py")
        try:
            text = read(f"{handler}.py")
        except (OSError, KeyError):
            text = None
    return preloadable(handler, text)


@contextlib.contextmanager
def _reader(archive: Path) -> Iterator[Any]:
    """Yield a function that reads the first MOST_TEXT bytes of a file in the archive."""
    if archive.is_dir():
        yield lambda name: _beginning((archive / name).open("rb"))
        return
    with archive.open("rb") as file:
        bound_directory(file, Limits().entries)
        with zipfile.ZipFile(file) as packed:
            yield lambda name: _beginning(_entry(packed, name))


def _entry(packed: zipfile.ZipFile, name: str) -> IO[bytes]:
    if packed.getinfo(name).compress_type not in _PLAIN:
        raise OSError(f"{name} is compressed otherwise")
    return packed.open(name)


def _beginning(file: IO[bytes]) -> bytes:
    with file:
        return file.read(MOST_TEXT)
