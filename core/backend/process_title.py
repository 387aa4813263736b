"""set_title(): gives this process another command line, as ps and /proc show it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

_ARG_START, _ARG_END, _ENV_START, _ENV_END = 47, 48, 49, 50  # fields of /proc/self/stat, the first being 0


def set_title(command: Sequence[str]) -> None:
    """Show `command` as this process's command line. Nothing happens where the system doesn't allow it.

    The words are written over those that the process was started with, and over its first environment behind them,
    which must have been copied: each variable must have been set anew. If they need that room, the kernel takes
    them for one text, as those of setproctitle; if they are shorter than those before, empty words follow.
    """
    try:
        fields = Path("/proc/self/stat").read_text(errors="replace").rpartition(")")[2].split()
        start, end, _, last = (int(fields[place - 2]) for place in (_ARG_START, _ARG_END, _ENV_START, _ENV_END))
    except (OSError, ValueError, IndexError):
        return
    room = end - start
    if not 0 < room <= last - start < 1 << 24:
        return
    words = b"\0".join(map(os.fsencode, command))
    if len(words) >= room:
        words = b" ".join(map(os.fsencode, command))[: last - start - 1]
    ctypes.memset(start, 0, last - start)
    ctypes.memmove(start, words, len(words))
