"""The minder of a worker on a host that is not its front's: `python -m torchserve.core.backend.minder`.

It is to the worker what the front is to one of its own host: the parent that starts the backend process, passes on what
it prints, kills it, and tells how it ended. It connects to the front by the ticket on its standard input, fetches the
model's files if this host hasn't them, and then starts the process, which has a connection of its own for batches.

                      ┌── control: files, lines, signs of life, exit code ──┐
    front ◄───────────┤                                                     ├── minder ── parent of ──┐
                      └── batches, in the frames of every worker ───────────┴───────────────────── backend

A worker of several ranks is torchrun's: the minder is the parent of its agent, whose first rank has that connection.

Whatever started the minder (an engine's agent) may end: the worker goes on while its front is there. If the front is
gone, or cut off, the worker may live for `grace` seconds; then the minder kills it and ends. If the minder is killed,
the kernel kills the backend.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import IO, NoReturn

import msgspec
import psutil

from ..payload import Body
from ..process_stacks import StacksUnknown, read_stacks
from ..user_folders import missing_identity
from ..wire.frames import FrameError, FrameReader, encode
from ..wire.remote_messages import (
    Alive,
    Exited,
    FromMinder,
    Kill,
    Leaving,
    Look,
    Need,
    Piece,
    Printed,
    Seen,
    Start,
    Started,
    Ticket,
    ToMinder,
)
from .minded_ranks import MindedRanks
from .model_cache import BadFiles, ModelCache
from .secure_stream import connect
from .stream import Stream, receive, send

log = logging.getLogger(__name__)

_MISSES = 2  # beats without a sign of the front, after which it counts as lost
_LINE = 16_384  # bytes; a longer line is passed on in pieces
_LINES = 100  # that one message carries
_OUTPUT = 1.0  # seconds that output may still come after the process's end, from what it started
_MOST_FRAME = 1 << 24
_AHEAD = 8  # messages that are read before the first of them is dealt with
_OWN = re.compile(r"RAY_.*|TORCHSERVE_TICKET")  # variables of an engine's agent


class Minder:
    """The minder's conversation with its front, and the process that it minds."""

    def __init__(self, ticket: Ticket, front: Stream) -> None:
        self._ticket = ticket
        self._front = front
        self._reader: FrameReader[ToMinder] = FrameReader(ToMinder, _MOST_FRAME)
        self._sending = threading.Lock()
        self._heard = threading.Event()
        self._messages: queue.Queue[tuple[ToMinder, tuple[Body, ...]]] = queue.Queue(_AHEAD)
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()
        self._ranks: MindedRanks | None = None

    def run(self) -> NoReturn:
        """Start the process as the front says, and mind it. The end of the process, or of the front, ends this one.

        Raises BadFiles, OSError if it can't be started.
        """
        for task in (self._read, self._beat):
            threading.Thread(target=task, name=task.__name__, daemon=True).start()
        start, _ = self._messages.get()
        if not isinstance(start, Start):
            raise BadFiles(f"the front began with {type(start).__name__}")
        folder, _ = ModelCache().obtain(start.digest, self._fetch)
        process = self._process = self._spawn(start)
        self.send(Started(process.pid, str(folder)))
        self._await_end(process)

    def send(self, message: FromMinder) -> None:
        """Send a message; nothing happens if the front is lost, which is noticed elsewhere."""
        with self._sending, contextlib.suppress(OSError):
            send(self._front, encode(message))

    def kill(self) -> None:
        """Kill the process and whatever it started."""
        if self._process is not None:
            for group in (self._process.pid, *(self._ranks.pids if self._ranks is not None else ())):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)

    def leave(self, *_: object) -> None:
        """Tell the front that this node is going, so that the worker takes no more batches."""
        threading.Thread(target=self.send, args=(Leaving("its node is being stopped (SIGTERM)"),), daemon=True).start()

    def _read(self) -> None:
        """Read what the front says, also while its files are written or another worker's are waited for."""
        reason = "it has closed the connection"
        try:
            while (frame := receive(self._front, self._reader)) is not None:
                self._heard.set()
                if isinstance(frame.message, Kill):
                    if self._process is None:
                        os._exit(0)
                    self.kill()
                elif isinstance(frame.message, Look):
                    threading.Thread(target=self._look, name="stacks", daemon=True).start()
                elif not isinstance(frame.message, Alive):
                    self._messages.put((frame.message, frame.bodies))
        except (OSError, FrameError) as error:
            reason = str(error)
        self._lose(reason)

    def _look(self) -> None:
        """Tell the front what the threads of the process do."""
        try:
            if self._process is None:
                raise StacksUnknown("its process has not been started")
            ranks = self._ranks.pids if self._ranks is not None else ()
            seen = Seen(read_stacks((*ranks, self._process.pid)[0]))
        except StacksUnknown as error:
            seen = Seen(error=str(error))
        self.send(seen)

    def _lose(self, reason: str) -> NoReturn:
        """Let the process live for the ticket's grace, then end it and this one."""
        log.warning("%s: the front is lost: %s", self._ticket.worker, reason)
        if self._process is not None and not self._ended.wait(self._ticket.grace):
            self.kill()
        if self._ranks is not None:
            self._ranks.close()
        os._exit(1)

    def _fetch(self) -> Iterator[tuple[Piece, Body]]:
        self.send(Need())
        while True:
            message, bodies = self._messages.get()
            if isinstance(message, Piece):
                yield message, bodies[0] if bodies else b""

    def _spawn(self, start: Start) -> subprocess.Popen[bytes]:
        if start.ranks is not None:
            self._ranks = MindedRanks(self._ticket.worker, start.ranks, self.send)
            return self._ranks.start(start, lambda command, stdin: _popen(command, start, stdin))
        command = [start.python or sys.executable, "-P", "-m", "torchserve.core.backend", "--ticket"]
        command += ["--name", self._ticket.worker, "--parent", str(os.getpid())]
        process = _popen(command, start, subprocess.PIPE)
        assert process.stdin is not None
        with contextlib.suppress(OSError), process.stdin:
            process.stdin.write(msgspec.json.encode(start.ticket) + b"\n")
        return process

    def _await_end(self, process: subprocess.Popen[bytes]) -> NoReturn:
        readers: list[threading.Thread] = []
        for name, pipe in (("stdout", process.stdout), ("stderr", process.stderr)):
            assert pipe is not None
            reader = threading.Thread(target=self._pass_on, args=(name, pipe), name=name, daemon=True)
            reader.start()
            readers.append(reader)
        code = process.wait()
        self._ended.set()
        self.kill()  # children that the handler has left behind
        if self._ranks is not None:
            self._ranks.close()
        for reader in readers:
            reader.join(_OUTPUT)
        self.send(Exited(code))
        os._exit(0)  # another thread waits for the front, which has nothing more to say

    def _pass_on(self, stream: str, pipe: IO[bytes]) -> None:
        """Send the lines that come, those that are there already together."""
        rest = b""
        while data := os.read(pipe.fileno(), 1 << 16):
            *whole, rest = (rest + data).split(b"\n")
            while len(rest) > _LINE:
                whole.append(rest[:_LINE])
                rest = rest[_LINE:]
            self._print(stream, whole)
        if rest:
            self._print(stream, [rest])

    def _print(self, stream: str, lines: list[bytes]) -> None:
        texts = [line[at : at + _LINE].decode("utf-8", "replace") for line in lines for at in _starts(line)]
        for first in range(0, len(texts), _LINES):
            self.send(Printed(stream, tuple(text.rstrip("\r") for text in texts[first : first + _LINES])))

    def _beat(self) -> None:
        """Send signs of life, and end everything when the front's have been missing for too long."""
        missed = 0
        while True:
            time.sleep(self._ticket.beat)
            alive = self._heard.is_set() or self._messages.full()  # then it is this side that reads nothing
            missed = 0 if alive else missed + 1
            self._heard.clear()
            if missed > _MISSES:
                self._lose(f"no sign of it for {missed * self._ticket.beat:g} s")
            self.send(Alive(self._memory(), self._ranks.pids if self._ranks is not None else ()))

    def _memory(self) -> int:
        if self._process is None:
            return 0
        with contextlib.suppress(psutil.Error, OSError):
            worker = psutil.Process(self._process.pid)
            return sum(each.memory_info().rss for each in (worker, *worker.children(recursive=True)))
        return 0


def _popen(command: list[str], start: Start, stdin: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env=environment(os.environ, start),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def environment(base: Mapping[str, str], start: Start) -> dict[str, str]:
    """Return the variables of a worker's process: those of `base`, less an engine's own and those that are hidden."""
    unseen = re.compile(start.hidden) if start.hidden else None
    kept = {
        name: value
        for name, value in base.items()
        if not _OWN.fullmatch(name) and (unseen is None or not unseen.fullmatch(name))
    }
    return kept | missing_identity(kept) | start.variables


def _starts(line: bytes) -> range:
    return range(0, len(line) or 1, _LINE)


def main() -> int:
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO)
    ticket = msgspec.json.decode(sys.stdin.buffer.readline(), type=Ticket)
    try:
        front = connect(ticket)
    except OSError as error:
        log.error("%s: its front at %s:%d can't be reached: %s", ticket.worker, ticket.host, ticket.port, error)
        return 1
    minder = Minder(ticket, front)
    signal.signal(signal.SIGTERM, minder.leave)
    try:
        minder.run()
    except (BadFiles, OSError) as error:
        minder.send(Exited(1, f"could not be started there: {error}"))
        return 1


if __name__ == "__main__":
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)  # threads still wait for the connection
