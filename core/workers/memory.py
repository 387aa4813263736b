"""resident(): how much of the host's memory a process has."""

from __future__ import annotations

import psutil


def resident(pid: int) -> int:
    """Return the bytes of memory that the process `pid` has, 0 if it has ended."""
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0
