"""A sibling is forked whether the C library has one place for a thread's id and its end (glibc up to 2.41) or two."""

from __future__ import annotations

import subprocess
import sys

import pytest

# As glibc 2.42 and later: the kernel tells of a thread's end where the id is not.
TWO_PLACES = (
    "state = ctypes.c_int(2); library.syscall({'x86_64': 218}.get(platform.machine(), 96), ctypes.byref(state))"
)

# Three processes: the first forks a second, which forks the first one's other child.
PROGRAM = """
import ctypes, os, platform, sys
from torchserve.core.backend.sibling import fork_sibling

library = ctypes.PyDLL(None)
library.pthread_self.restype = ctypes.c_size_t
offset = (ctypes.c_uint32 * 3).in_dll(library, "_thread_db_pthread_tid")[2]

def looked():
    address = ctypes.c_void_p()
    library.prctl(40, ctypes.byref(address), 0, 0, 0)
    return ctypes.c_int.from_address(library.pthread_self() + offset).value == os.getpid(), address.value

reader, writer = os.pipe()
child = os.fork()
if child:
    os.close(writer)
    print(os.read(reader, 200).decode())
    os.waitpid(child, 0)
    os.waitpid(-1, 0)  # the sibling, which is this process's
    sys.exit()
parent = os.getppid()
%s
before = looked()
if fork_sibling() == 0:
    os.write(writer, str([before == looked(), before[0], os.getppid() == parent]).encode())
os._exit(0)
"""


@pytest.mark.parametrize("before", ["", TWO_PLACES], ids=["one place", "two places"])
def test_a_sibling_knows_its_own_id(before: str):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM % before], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "[True, True, True]\n", done.stderr
