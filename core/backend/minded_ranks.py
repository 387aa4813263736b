"""MindedRanks: the ranks of a worker on a host that is not its front's: torchrun's agent, as the minder's child."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from subprocess import Popen
from typing import Final

import msgspec
import psutil

from ..wire.frames import FrameError, FrameReader
from ..wire.messages import Loaded
from ..wire.remote_messages import RankFailed, Ranks, Start
from ..wire.torchrun import TICKET, handed_out, torchrun_command
from .stream import receive

_MOST_FRAME: Final = 1 << 24
Spawn = Callable[[list[str], int], "Popen[bytes]"]
"""Start a command with this descriptor as its standard input."""


class MindedRanks:
    """The ranks of one worker. What one of them, other than the first, says of a failed load goes to `say`."""

    def __init__(self, worker: str, ranks: Ranks, say: Callable[[RankFailed], None]) -> None:
        self._worker = worker
        self._ranks = ranks
        self._say = say
        self._agent: Popen[bytes] | None = None
        self._pids: tuple[int, ...] = ()
        self._logs = tempfile.mkdtemp(prefix="torchelastic-")

    def start(self, start: Start, spawn: Spawn) -> Popen[bytes]:
        """Start torchrun, and return it. Raises OSError."""
        options = (*self._ranks.options, f"--log-dir={self._logs}")
        python = start.python or sys.executable
        command = torchrun_command(python, os.getpid(), options, self._worker, self._ranks.kind)
        ours, theirs = socket.socketpair()
        with theirs, handed_out(theirs, self._ranks.count, TICKET) as ends:
            self._agent = spawn(command, ends.fileno())
        ours.sendall(msgspec.json.encode(start.ticket) + b"\n")
        threading.Thread(target=self._hear, args=(ours,), name="ranks", daemon=True).start()
        return self._agent

    @property
    def pids(self) -> tuple[int, ...]:
        """The ranks in their order. Each leads a process group of its own, and outlives torchrun if it hangs: so they
        are remembered.
        """
        if self._agent is not None:
            with contextlib.suppress(psutil.Error, OSError):
                children = psutil.Process(self._agent.pid).children()
                self._pids = tuple(child.pid for child in children) or self._pids
        return self._pids

    def close(self) -> None:
        """Remove what torchrun has left behind."""
        shutil.rmtree(self._logs, ignore_errors=True)

    def _hear(self, ours: socket.socket) -> None:
        """Pass on why a rank could not load the model, until all have loaded it or have ended."""
        reader: FrameReader[Loaded] = FrameReader(Loaded, _MOST_FRAME)
        with ours, contextlib.suppress(OSError, FrameError):
            while (frame := receive(ours, reader)) is not None:
                self._say(RankFailed(frame.message))
