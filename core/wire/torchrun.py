"""Starts the ranks of a parallel worker: torchrun's command line, and the sockets that its ranks inherit.

torchrun passes its children no descriptor but standard input. So standard input is a socket that holds one message per
rank, each with the sockets of all ranks: every rank receives any one of these messages, and keeps its own sockets
(core.backend.ranks). Its word is ENDS where the first socket is the connection to the front. Where it is TICKET, the
first socket leads to the minder: rank 0 finds the ticket there by which it connects, and any other rank says there why
it could not load the model.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Generator, Sequence
from typing import Final

ENDS: Final = b"ends"
TICKET: Final = b"ticket"


def torchrun_command(python: str, parent: int, options: Sequence[str], name: str, kind: str) -> list[str]:
    """Return the command of one worker's agent, a child of the process `parent`, whose ranks all run the backend.

    A rank that dies ends them all, and torchrun does not restart them: the pool starts the worker anew.
    """
    backend = [python, "-P", "-m", "torchserve.core.backend", "--name", name, "--ranks", kind]
    agent = [python, "-P", "-m", "torchserve.core.backend.agent", str(parent)]
    return [*agent, *options, f"--rdzv-id={name}", "--max-restarts=0", "--no-python", *backend]


@contextlib.contextmanager
def handed_out(front: socket.socket, ranks: int, word: bytes = ENDS) -> Generator[socket.socket]:
    """Yield a socket that holds one message per rank, each with the word and all sockets. Raises OSError.

    The sockets are the connection to the front or the minder, rank 0's ends of the lines to every other rank, and those
    ranks' ends.
    """
    with contextlib.ExitStack() as ends:
        ours, theirs = (ends.enter_context(end) for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        lines = [socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(ranks - 1)]
        for line in lines:
            for end in line:
                ends.enter_context(end)
        numbers = [front.fileno(), *_numbers(lines, 0), *_numbers(lines, 1)]
        for _ in range(ranks):
            socket.send_fds(ours, [word], numbers)
        yield theirs


def _numbers(lines: Sequence[tuple[socket.socket, socket.socket]], end: int) -> list[int]:
    return [line[end].fileno() for line in lines]
