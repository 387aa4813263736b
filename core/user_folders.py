"""Where a user's own files go, also for users of containers: numbers without a name, a home, or a home to write to."""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Mapping
from pathlib import Path

_NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")  # where Python looks for the user's name


def cache_path(name: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Return where `name` is kept in the user's cache folder, or, without a home that can be written to, in the
    temporary folder under the user's number.
    """
    given = environment.get("XDG_CACHE_HOME")
    if given:
        return Path(given) / "torchserve" / name
    home = _home(environment)
    if home is not None and _can_be_made(home / ".cache" / "torchserve"):
        return home / ".cache" / "torchserve" / name
    # Not torchserve-*: those are folders of unpacked archives.
    return Path(tempfile.gettempdir(), f".torchserve-{os.geteuid()}-{name}")


def missing_identity(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a process of a user without an entry in /etc/passwd lacks: HOME, and USER.

    Libraries ask for them when they are imported or first used (torch.compile for the name, triton for the home), and
    Python raises KeyError or RuntimeError where it finds neither a variable nor an entry.
    """
    if _entry() is not None:
        return {}
    missing: dict[str, str] = {}
    if not environment.get("HOME"):
        missing["HOME"] = tempfile.gettempdir()
    if not any(environment.get(name) for name in _NAMES):
        missing["USER"] = f"uid{os.getuid()}"
    return missing


def _home(environment: Mapping[str, str]) -> Path | None:
    given = environment.get("HOME")
    if given:
        return Path(given)
    entry = _entry()
    return Path(entry.pw_dir) if entry is not None else None


def _entry() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(os.getuid())
    except KeyError:
        return None


def _can_be_made(folder: Path) -> bool:
    """Return whether the folder can be written to, or made where it isn't there."""
    there = next((each for each in (folder, *folder.parents) if each.exists()), None)
    return there is not None and there.is_dir() and os.access(there, os.W_OK | os.X_OK)
