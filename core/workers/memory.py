"""How much memory of the host a process has."""

from __future__ import annotations

import psutil


def resident(pid: int) -> int:
    """Bytes; 0 if it has gone."""
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0
