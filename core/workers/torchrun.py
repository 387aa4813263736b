"""Starts the ranks of a parallel worker: torchrun's command line, and the sockets that its ranks inherit.

torchrun passes its children no descriptor but standard input. So standard input is a socket that holds one message per
rank, each with the sockets of all ranks: every rank receives any one of these messages, and keeps its own sockets
(core.backend.ranks).
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..config.parallel import Parallel


def torchrun_command(python: str, parallel: Parallel, name: str, logs: Path) -> list[str]:
    """Return the command of one worker's agent, whose ranks all run the backend.

    A rank that dies ends them all, and torchrun does not restart them: the pool starts the worker anew.
    """
    endpoint = parallel.rdzv_endpoint
    if endpoint is None and parallel.nodes == 1 and parallel.rdzv_backend == "c10d":
        endpoint = "localhost:0"  # a free port: torchrun's default is one port for all workers of the host
    options: list[tuple[str, object]] = [
        ("nnodes", parallel.nodes),
        ("nproc-per-node", parallel.level),
        ("node-rank", parallel.node_rank),
        ("log-dir", logs),
        ("rdzv-backend", parallel.rdzv_backend),
        ("rdzv-endpoint", endpoint),
        ("rdzv-conf", parallel.rdzv_conf),
        ("rdzv-id", name),
        ("monitor-interval", parallel.monitor_interval),
        ("max-restarts", 0),
    ]
    said = [f"--{key}={value}" for key, value in options if value is not None]
    backend = [python, "-P", "-m", "torchserve.core.backend", "--name", name, "--ranks", parallel.kind]
    agent = [python, "-P", "-m", "torchserve.core.backend.agent", str(os.getpid())]
    return [*agent, *said, "--no-python", *backend]


@contextlib.contextmanager
def handed_out(front: socket.socket, ranks: int) -> Iterator[socket.socket]:
    """Yield a socket that holds one message per rank, each with all sockets. Raises OSError.

    The sockets are the connection to the front, rank 0's ends of the lines to every other rank, and those ranks' ends.
    """
    with contextlib.ExitStack() as ends:
        ours, theirs = (ends.enter_context(end) for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        lines = [socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(ranks - 1)]
        for line in lines:
            for end in line:
                ends.enter_context(end)
        numbers = [front.fileno(), *_numbers(lines, 0), *_numbers(lines, 1)]
        for _ in range(ranks):
            socket.send_fds(ours, [b"ends"], numbers)
        yield theirs


def _numbers(lines: Sequence[tuple[socket.socket, socket.socket]], end: int) -> list[int]:
    return [line[end].fileno() for line in lines]
