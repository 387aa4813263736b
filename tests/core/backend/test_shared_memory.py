"""A worker's shared memory: results go there while there is room, and requests are read within its bounds."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from torchserve.core.backend.shared_memory import Inbox, Outbox
from torchserve.core.wire.buddy_allocator import MIN_BLOCK
from torchserve.core.wire.frames import FrameError

SIZE = 4 * MIN_BLOCK
Handed = tuple[int, Inbox, socket.socket]


def memory() -> tuple[int, int]:
    """Two descriptors of one memory: a worker closes the one that it is given."""
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, SIZE)
    return descriptor, os.dup(descriptor)


@pytest.fixture
def handed_over() -> Iterator[Handed]:
    """A memory, an inbox that has been handed it, and the front's end of the socket that it came by."""
    mine, theirs = memory()
    front, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with front, control:
        socket.send_fds(front, [b"."], [theirs])
        os.close(theirs)
        yield mine, Inbox(control), front
    os.close(mine)


def test_large_results_go_there_as_long_as_there_is_room() -> None:
    mine, theirs = memory()
    outbox = Outbox(theirs)
    bodies = [
        b"a" * MIN_BLOCK,
        b"small",
        bytearray(b"b" * (MIN_BLOCK + 1)),
        b"c" * (2 * MIN_BLOCK),
        b"d" * MIN_BLOCK,
        b"e" * MIN_BLOCK,
    ]
    places = outbox.place(bodies)
    assert list(places) == [0, 2, 4]  # two blocks of one unit, and one of two
    assert all(os.pread(mine, len(bodies[index]), offset) == bodies[index] for index, offset in places.items())
    assert outbox.place([b"f" * MIN_BLOCK]) == {}
    outbox.give([places[2]])
    assert outbox.place([b"f" * (2 * MIN_BLOCK)]) == {0: places[2]}
    os.close(mine)


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (SIZE, 1), (0, SIZE + 1), (SIZE - 1, 2), (0, -1), (1 << 70, 1)])
def test_a_place_outside_is_refused(offset: int, size: int, handed_over: Handed) -> None:
    _, inbox, _ = handed_over
    with pytest.raises(FrameError, match="outside"):
        inbox.view(offset, size)


def test_a_request_is_read_where_it_lies_and_can_not_be_changed(handed_over: Handed) -> None:
    mine, inbox, _ = handed_over
    os.pwrite(mine, b"abc", MIN_BLOCK)
    view = inbox.view(MIN_BLOCK, 3)
    assert view == b"abc"
    assert view.readonly


def test_a_new_memory_takes_the_place_of_the_one_before_and_what_is_read_stays(handed_over: Handed) -> None:
    mine, inbox, front = handed_over
    os.pwrite(mine, b"old", 0)
    old = inbox.view(0, 3)
    new, theirs = memory()
    os.pwrite(new, b"new", 0)
    socket.send_fds(front, [b"."], [theirs])
    assert (inbox.view(0, 3), old) == (b"new", b"old")
    assert inbox.view(0, 3) == b"new"
    for descriptor in (new, theirs):
        os.close(descriptor)


UNMAPPED = """
import os, resource, socket, sys
from torchserve.core.backend.shared_memory import Inbox, Outbox

size = 1 << 28
front, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
memories = [os.memfd_create("test") for _ in range(3)]
for memory in memories:
    os.ftruncate(memory, size)
    os.pwrite(memory, b"asked %d" % memory, size // 2)
before = len(os.listdir("/proc/self/fd"))
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (64 << 20),) * 2)
inbox = Inbox(control)
for memory in memories[:2]:
    socket.send_fds(front, [b"."], [memory])
    assert bytes(inbox.view(size // 2, 7)) == b"asked %d" % memory
assert len(os.listdir("/proc/self/fd")) == before + 1, "the first one is let go"
outbox = Outbox(os.dup(memories[2]))
answers = [b"a" * 100_000, bytearray(b"b" * 70_000)]
places = outbox.place(answers)
assert [os.pread(memories[2], len(answers[index]), offset) for index, offset in places.items()] == answers
print("as if mapped")
"""


def test_a_process_whose_address_space_is_limited_reads_and_writes_all_the_same() -> None:
    """As `ulimit -v` does, which batch systems set, once torch has taken most of it."""
    done = subprocess.run([sys.executable, "-P", "-c", UNMAPPED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "as if mapped\n"), done.stderr


def test_the_socket_is_read_when_a_memory_has_come_and_not_for_each_body(
    handed_over: Handed, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, inbox, front = handed_over
    reads, receive = list[int](), socket.recv_fds

    def counted(*arguments: Any) -> Any:
        reads.append(1)
        return receive(*arguments)

    monkeypatch.setattr(socket, "recv_fds", counted)
    os.pwrite(mine, b"old", 0)
    assert [bytes(inbox.view(0, 3)) for _ in range(5)] == [b"old"] * 5
    taken = len(reads)
    assert taken == 2, "the memory, and that nothing is behind it"
    another, theirs = memory()
    os.pwrite(another, b"new", 0)
    socket.send_fds(front, [b"."], [theirs])
    os.close(theirs)
    assert [bytes(inbox.view(0, 3)) for _ in range(5)] == [b"new"] * 5
    assert len(reads) == 2 * taken
    os.close(another)
