"""A sandbox that refuses system calls, as old Docker profiles and gVisor do: `python seccomp.py RULES -- COMMAND ...`.

The rules are separated by commas: `pidfd_open=ENOSYS` refuses a call with that error, `madvise:2:9=ENOSYS` only where
argument 2 is 9. Children inherit the filter, and none can remove it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

# Numbers on x86-64 and on ARM64.
_CALLS = {
    "close_range": (436, 436),
    "epoll_create1": (291, 20),
    "fallocate": (285, 47),
    "fcntl": (72, 25),
    "flock": (73, 32),
    "getrandom": (318, 278),
    "io_uring_setup": (425, 425),
    "madvise": (28, 233),
    "memfd_create": (319, 279),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "sched_getaffinity": (204, 123),
    "sched_setaffinity": (203, 122),
    "setsockopt": (54, 208),
    "statx": (332, 291),
}
_MACHINES = {"x86_64": 0, "aarch64": 1}
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF: load a word, jump if equal, return
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_ARGUMENTS, _ARGUMENT_SIZE = 16, 8  # places in struct seccomp_data
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2


def available() -> bool:
    """Whether this machine's numbers are known, and its kernel takes filters."""
    return platform.machine() in _MACHINES and Path("/proc/sys/kernel/seccomp").exists()


def sandboxed(rules: Sequence[str], command: Sequence[str]) -> list[str]:
    """The command that runs `command` where the calls of `rules` are refused."""
    return [sys.executable, "-P", __file__, ",".join(rules), "--", *command]


def _program(rules: Sequence[str]) -> bytes:
    parts = [_refusal(rule) for rule in rules]
    return b"".join(parts) + _step(_RETURN, _ALLOW)


def _refusal(rule: str) -> bytes:
    asked, _, error = rule.partition("=")
    name, *condition = asked.split(":")
    refused = _step(_RETURN, _ERRNO | getattr(errno, error))
    if condition:
        place, value = map(int, condition)
        refused = _step(_LOAD, _ARGUMENTS + place * _ARGUMENT_SIZE) + _step(_EQUAL, value, 0, 1) + refused
    number = _CALLS[name][_MACHINES[platform.machine()]]
    return _step(_LOAD, 0) + _step(_EQUAL, number, 0, len(refused) // 8) + refused


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def confine(rules: Sequence[str]) -> None:
    """Refuse these calls to this process and its children, for good."""
    program = _program(rules)
    steps = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HL", len(program) // 8, ctypes.addressof(steps)))
    call = ctypes.CDLL(None, use_errno=True).prctl
    for arguments in ((_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SECCOMP, _FILTER, header)):
        if call(*arguments):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    confine(sys.argv[1].split(","))
    os.execvp(sys.argv[3], sys.argv[3:])
