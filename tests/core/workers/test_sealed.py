"""What a worker can't do with the memory that it shares with the front, tried by a real process with all that it may have."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from torchserve.core.wire.buddy_allocator import MIN_BLOCK
from torchserve.core.workers import shared_memory
from torchserve.core.workers.lent_requests import LentRequests
from torchserve.core.workers.shared_memory import Requests, Results

from ...standins import seccomp

SIZE = 8 * MIN_BLOCK

# Each try in its own line; it prints what it could do.
TRY = """
import mmap, os, sys
def tried(name, act):
    try:
        act()
    except (OSError, ValueError) as error:
        return
    print(name)

given = int(sys.argv[1])
size = os.fstat(given).st_size
try:
    os.fchmod(given, 0o777)
except OSError:
    pass
try:
    again = os.open(f"/proc/self/fd/{given}", os.O_RDWR)
except OSError:
    again = given
for name, fd in (("given", given), ("reopened", again)):
    tried(f"{name} written", lambda: os.pwrite(fd, b"x", 0))
    tried(f"{name} mapped for writing", lambda: mmap.mmap(fd, size))
    tried(f"{name} made shorter", lambda: os.ftruncate(fd, 0))
    tried(f"{name} made longer", lambda: os.ftruncate(fd, 2 * size))

def protect():
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    at = libc.mmap(None, size, 1, 1, again, 0)
    if libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(size), 3):
        raise OSError("no")
tried("made writable", protect)
"""


def could(descriptor: int) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", TRY, str(descriptor)],
        pass_fds=[descriptor], capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return set(done.stdout.split("\n")) - {""}


async def test_requests_can_only_be_read() -> None:
    requests = Requests(SIZE)
    room = requests.take(SIZE)
    assert room is not None
    room[:2] = b"ab"
    assert await asyncio.to_thread(could, requests.descriptor) == set()
    room[1:3] = b"cd"  # the front still writes
    assert os.pread(requests.descriptor, 3, 0) == b"acd"
    requests.close()


async def test_results_keep_their_size() -> None:
    """The front reads and sends from there: a page that went away would end it by SIGBUS."""
    results = Results(SIZE)
    written = {f"{which} {how}" for which in ("given", "reopened") for how in ("written", "mapped for writing")}
    assert await asyncio.to_thread(could, results.descriptor) == written | {"made writable"}
    body = results.lend(0, SIZE)
    assert len(bytes(body)) == SIZE
    results.close()


async def test_an_older_kernel_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shared_memory, "F_SEAL_FUTURE_WRITE", 1 << 30)  # a seal that no kernel knows
    shared_memory._say_unsealed.cache_clear()
    for requests in (Requests(SIZE), Requests(SIZE)):
        requests.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "The kernel has no seal against writing" in caplog.text
    shared_memory._say_unsealed.cache_clear()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def handed(end: socket.socket) -> int | None:
    """A memory's number of the file system, if a worker has been handed one."""
    try:
        _, (descriptor,), _, _ = socket.recv_fds(end, 1, 1)
    except BlockingIOError:
        return None
    number = os.fstat(descriptor).st_ino
    os.close(descriptor)
    return number


async def test_a_memory_that_nobody_uses_gives_its_pages_back_by_a_new_one(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    requests = Requests(SIZE)
    lent = LentRequests(requests, ends[0])
    assert handed(ends[1]) is None
    for body in (b"a" * MIN_BLOCK, b"b" * MIN_BLOCK):
        _, kept = lent.place([body])
        first = os.fstat(requests.descriptor).st_ino
        if body[:1] == b"a":
            assert handed(ends[1]) == first
        assert handed(ends[1]) is None  # once for all bodies in it
    assert requests._mapping is not None
    assert not requests._trim(requests._mapping)  # a body lies there
    assert os.fstat(requests.descriptor).st_ino == first
    assert os.fstat(requests.descriptor).st_blocks > 0
    del kept
    assert requests._trim(requests._mapping)
    assert os.fstat(requests.descriptor).st_blocks == 0
    places, kept = lent.place([b"c" * MIN_BLOCK])
    assert kept
    assert handed(ends[1]) == os.fstat(requests.descriptor).st_ino != first
    assert os.pread(requests.descriptor, MIN_BLOCK, places[0]) == b"c" * MIN_BLOCK
    requests.close()


async def test_a_worker_that_takes_no_memory_gets_bodies_by_its_socket(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    requests = Requests(SIZE)
    lent = LentRequests(requests, ends[0])
    ends[1].close()
    assert lent.place([b"a" * MIN_BLOCK]) == ({}, [])
    lent.close()
    requests.close()


KEEPS = """
import asyncio, logging, os, sys
from torchserve.core.workers import shared_memory
logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
shared_memory.QUIET = 0.0

async def main():
    memories = shared_memory.Results(1 << 20), shared_memory.Requests(1 << 20)
    results, requests = memories
    results.busy = lambda: False
    for _ in range(2):
        lent, taken = results.lend(0, 1 << 16), requests.take(1 << 16)
        lent[:5] = taken[:5] = b"again"
        del lent, taken
        while any(memory._timer is not None for memory in memories):
            await asyncio.sleep(0)
    print("used again")

asyncio.run(main(), debug=True)
"""


@pytest.mark.skipif(not seccomp.available(), reason="needs seccomp, on x86-64 or ARM64")
def test_where_the_system_takes_no_pages_back_the_memory_stays_and_is_used() -> None:
    command = seccomp.sandboxed(["madvise:2:9=ENOSYS"], [sys.executable, "-P", "-c", KEEPS])
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = [line for line in done.stdout.splitlines() if not line.startswith("Using")]
    assert told == [
        "The memory of large bodies is used again, and not given back to the system: Function not implemented",
        "used again",
    ]
    assert done.stderr == ""
