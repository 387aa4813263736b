"""The runtime file: a JSON file beside the pid file that says at which addresses the running server can be called.

It is used only while the server that wrote it runs.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.config.address import Address, parse_address
from ..core.trusted_file import NotTrusted, read_trusted, replace_file
from .pidfile import holder, pid_path

_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A record of where the running server can be called.

    `addresses` are by API. `key_file` is None if token authorization is off. `foreign` says that another user runs the
    server, in which case nothing else is known.
    """

    addresses: Mapping[str, Address]
    key_file: Path | None = None
    foreign: bool = False


def _path() -> Path:
    path = pid_path()
    return path.with_name(path.name + _SUFFIX)


def write_runtime_file(addresses: Mapping[str, str], key_file: Path | None) -> None:
    """Write where this process serves. This must be called while the pid file is held. Raises OSError."""
    told = {"pid": os.getpid(), "addresses": dict(addresses), "key_file": str(key_file) if key_file else None}
    replace_file(_path(), json.dumps(told).encode(), 0o644)


def remove_runtime_file() -> None:
    """Remove what `write_runtime_file` wrote."""
    with contextlib.suppress(OSError):
        _path().unlink()


def find_running_server() -> RunningServer | None:
    """Return where the running server can be called, or None if no server runs or it has written no runtime file.

    A file of another user is not used, because this user's key would be sent to an address that the other user chose.
    Raises InvalidConfig if the temporary folder does not exist.
    """
    held = holder()
    if held is None:
        return None
    if held.owner not in {0, os.geteuid()}:
        return RunningServer({}, foreign=True)
    try:
        told = json.loads(read_trusted(_path()))
        if told["pid"] != held.pid:
            return None
        addresses = {face: parse_address(text) for face, text in told["addresses"].items()}
        return RunningServer(addresses, Path(told["key_file"]) if told["key_file"] else None)
    except NotTrusted:
        return RunningServer({}, foreign=True)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
