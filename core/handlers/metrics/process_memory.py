"""A process's use of main memory, for handlers that emit it as a metric."""

from __future__ import annotations

import logging
from typing import TextIO

import psutil

log = logging.getLogger(__name__)


def get_cpu_usage(pid: int | str) -> int:
    """Return the resident bytes of the process; 0, with a line in the log, if the process can't be read."""
    try:
        return psutil.Process(int(pid)).memory_info().rss
    except (psutil.Error, ValueError) as error:
        log.error("Failed get process for pid: %s: %s", pid, error)
        return 0


def check_process_mem_usage(stdin: TextIO) -> None:
    """Read a line of pids separated by commas and log `pid:bytes` for each."""
    for pid in filter(None, stdin.readline().strip().split(",")):
        log.info("%s:%d", pid, get_cpu_usage(pid))
