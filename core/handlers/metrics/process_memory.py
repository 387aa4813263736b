"""What a process takes of the main memory, as handlers' own metrics ask for it."""

from __future__ import annotations

import logging
from typing import TextIO

import psutil

log = logging.getLogger(__name__)


def get_cpu_usage(pid: int | str) -> int:
    """Resident bytes; 0, and a line in the log, for a process that can't be asked."""
    try:
        return psutil.Process(int(pid)).memory_info().rss
    except (psutil.Error, ValueError) as error:
        log.error("Failed get process for pid: %s: %s", pid, error)
        return 0


def check_process_mem_usage(stdin: TextIO) -> None:
    """Log `pid:bytes` for each pid of a line, which commas separate."""
    for pid in filter(None, stdin.readline().strip().split(",")):
        log.info("%s:%d", pid, get_cpu_usage(pid))
