"""The command line of a parallel worker, and the sockets that its ranks inherit."""

from __future__ import annotations

import socket

import pytest

from torchserve.core.wire.torchrun import ENDS, TICKET, handed_out, torchrun_command


def test_the_command_has_the_options_and_the_ranks_command() -> None:
    command = torchrun_command("/bin/python", 12, ["--nnodes=1", "--nproc-per-node=2"], "W-1", "tp")
    agent, backend = command[: command.index("--no-python")], command[command.index("--no-python") + 1 :]
    assert agent[:5] == ["/bin/python", "-P", "-m", "torchserve.core.backend.agent", "12"]
    assert agent[5:] == ["--nnodes=1", "--nproc-per-node=2", "--rdzv-id=W-1", "--max-restarts=0"]
    assert backend == ["/bin/python", "-P", "-m", "torchserve.core.backend", "--name", "W-1", "--ranks", "tp"]


@pytest.mark.parametrize(("ranks", "word"), [(1, ENDS), (2, TICKET), (5, ENDS)])
def test_every_rank_may_take_any_message_and_finds_all_sockets(ranks: int, word: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        messages: list[list[int]] = []
        with handed_out(theirs, ranks, word) as ends:
            for _ in range(ranks):
                said, numbers, *_ = socket.recv_fds(ends, 16, 2 * ranks)
                assert said == word
                messages.append(list(numbers))
            ends.setblocking(False)
            with pytest.raises(BlockingIOError):
                ends.recv(16)
        for numbers in messages:
            front, *lines = [socket.socket(fileno=number) for number in numbers]
            assert len(lines) == 2 * (ranks - 1)
            front.send(b"f")
            assert ours.recv(1) == b"f"
            for near, far in zip(lines[: ranks - 1], lines[ranks - 1 :], strict=True):
                near.send(b"n")
                assert far.recv(1) == b"n"
            for each in (front, *lines):
                each.close()
