"""Where the running server can be called: a file beside its pid file, believed while that server runs."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.config.address import Address, parse_address
from .pidfile import pid_path, running_pid

_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class RunningServer:
    """Addresses by face, and the file of the keys where tokens are on. `others`: it is another user's server."""

    addresses: Mapping[str, Address]
    key_file: Path | None = None
    foreign: bool = False


def _path() -> Path:
    path = pid_path()
    return path.with_name(path.name + _SUFFIX)


def write_runtime_file(addresses: Mapping[str, str], key_file: Path | None) -> None:
    """Say where this process serves. Raises OSError. Called while the pid file is held."""
    path = _path()
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    told = {"pid": os.getpid(), "addresses": dict(addresses), "key_file": str(key_file) if key_file else None}
    try:
        # Not through a link that somebody has laid in a folder which all may write to.
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "w") as file:
            json.dump(told, file)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def remove_runtime_file() -> None:
    """Remove what `write_runtime_file` wrote."""
    with contextlib.suppress(OSError):
        _path().unlink()


def find_running_server() -> RunningServer | None:
    """Where the running server is; None if none runs, or it has not said so. Raises InvalidConfig (a bad temp folder).

    What another user wrote is not believed: it would have this user's key sent to an address of theirs.
    """
    pid = running_pid()
    if pid is None:
        return None
    try:
        descriptor = os.open(_path(), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor) as file:
            if os.fstat(descriptor).st_uid not in {0, os.geteuid()}:
                return RunningServer({}, foreign=True)
            told = json.load(file)
        if told["pid"] != pid:
            return None
        addresses = {face: parse_address(text) for face, text in told["addresses"].items()}
        return RunningServer(addresses, Path(told["key_file"]) if told["key_file"] else None)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
