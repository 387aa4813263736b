"""The command line of a parallel worker, and the sockets that its ranks inherit."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from torchserve.core.config.parallel import Parallel
from torchserve.core.workers.spawn_local import worker_environment
from torchserve.core.workers.threads import Threads
from torchserve.core.workers.torchrun import handed_out, torchrun_command

ALWAYS = {"--rdzv-id": "W-1", "--log-dir": "/logs", "--max-restarts": "0", "--node-rank": "0"}
ONE = ALWAYS | {"--nnodes": "1", "--nproc-per-node": "2", "--rdzv-backend": "c10d", "--rdzv-endpoint": "localhost:0"}


def without(options: dict[str, str], key: str) -> dict[str, str]:
    return {name: value for name, value in options.items() if name != key}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, ONE),
        ({"level": 4}, ONE | {"--nproc-per-node": "4"}),
        ({"nodes": 2, "node_rank": 1}, without(ONE, "--rdzv-endpoint") | {"--nnodes": "2", "--node-rank": "1"}),
        ({"rdzv_backend": "etcd"}, without(ONE, "--rdzv-endpoint") | {"--rdzv-backend": "etcd"}),
        ({"rdzv_endpoint": "host:29400"}, ONE | {"--rdzv-endpoint": "host:29400"}),
        ({"rdzv_conf": "timeout=9"}, ONE | {"--rdzv-conf": "timeout=9"}),
        ({"monitor_interval": 3}, ONE | {"--monitor-interval": "3"}),
    ],
)
def test_the_command_has_what_the_model_says(options: dict[str, Any], said: dict[str, str]) -> None:
    parallel = Parallel(**({"kind": "tp", "level": 2} | options))
    command = torchrun_command("/bin/python", parallel, "W-1", Path("/logs"))
    agent, backend = command[: command.index("--no-python")], command[command.index("--no-python") + 1 :]
    assert agent[:5] == ["/bin/python", "-P", "-m", "torchserve.core.backend.agent", str(os.getpid())]
    assert dict(option.split("=", 1) for option in agent[5:]) == said
    assert backend == ["/bin/python", "-P", "-m", "torchserve.core.backend", "--name", "W-1", "--ranks", "tp"]


@pytest.mark.parametrize(
    ("gpus", "hidden", "said", "unsaid"),
    [
        ([], None, {"SECRET": "x", "PATH": "/bin"}, {"CUDA_VISIBLE_DEVICES"}),
        (["GPU-a"], None, {"CUDA_VISIBLE_DEVICES": "GPU-a"}, set[str]()),
        (["GPU-b", "GPU-a"], None, {"CUDA_VISIBLE_DEVICES": "GPU-b,GPU-a"}, set[str]()),  # in the ranks' order
        ([], "SEC.*", {"PATH": "/bin"}, {"SECRET"}),
    ],
)
def test_the_environment_is_the_server_s_with_the_worker_s_gpus(
    gpus: list[str], hidden: str | None, said: dict[str, str], unsaid: set[str]
) -> None:
    base = {"SECRET": "x", "PATH": "/bin"}
    made = worker_environment(base, hidden=hidden, gpus=gpus, threads=Threads(3, 4))
    assert made.items() >= (said | {"OMP_NUM_THREADS": "3"}).items()
    assert not unsaid & made.keys()
    assert base == {"SECRET": "x", "PATH": "/bin"}


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_every_rank_may_take_any_message_and_finds_all_sockets(ranks: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        messages: list[list[int]] = []
        with handed_out(theirs, ranks) as ends:
            for _ in range(ranks):
                _, numbers, *_ = socket.recv_fds(ends, 16, 2 * ranks)
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
