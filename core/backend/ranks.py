"""A parallel model's ranks: rank 0 talks to the front and passes on what the others must hear; they answer nobody.

What a rank is handed lies on its standard input (core.workers.torchrun).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ..wire.frames import FrameReader, encode
from ..wire.messages import Load, Loaded, ToBackend
from .stream import MAX_FRAME, receive, send

_MOST_ENDS = 250  # the kernel passes 253 files at once
_DETAIL = 16_000  # characters: what two ranks send at once must not be torn


class RankDied(Exception):
    """The line to another rank has ended; torchrun ends this one as well."""


@dataclass(frozen=True, slots=True)
class Ends:
    """`front` is the worker's conversation with the front. For rank 0 `lines` lead to the others in order, for another
    the only one leads to rank 0.
    """

    rank: int
    front: socket.socket
    lines: tuple[socket.socket, ...]


def take_ends() -> Ends:
    """This rank's own out of its helping; the others' are closed, so that a rank's death is the end of its line."""
    rank = int(os.environ["LOCAL_RANK"])
    with socket.socket(fileno=os.dup(0)) as stdin:
        _, numbers, _, _ = socket.recv_fds(stdin, 16, _MOST_ENDS, socket.MSG_CMSG_CLOEXEC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    front, *rest = (socket.socket(fileno=number) for number in numbers)
    half = len(rest) // 2
    mine = rest[:half] if rank == 0 else [rest[half + rank - 1]]
    for end in rest:
        if end not in mine:
            end.close()
    return Ends(rank, front, tuple(mine))


def for_rank(load: Load, rank: int) -> Load:
    """A rank's device is the one of its own number, among those that the worker can see."""
    return load if load.gpu_id is None else msgspec.structs.replace(load, gpu_id=rank)


class Others:
    """The other ranks, as rank 0 sees them. In pp each gets its work from the rank before it, and not from here."""

    def __init__(self, lines: Sequence[socket.socket], kind: str) -> None:
        self._lines = lines
        self._share = kind != "pp"

    def load(self, load: Load) -> None:
        """Have all of them load the model. They do it while this rank does: most meet each other in it."""
        for rank, line in enumerate(self._lines, 1):
            send(line, encode(for_rank(load, rank)))

    def loaded(self) -> Loaded | None:
        """Wait until all of them have loaded. What went wrong, if one has ended instead; None if all is well."""
        for rank, line in enumerate(self._lines, 1):
            reader: FrameReader[Loaded] = FrameReader(Loaded, MAX_FRAME)
            if receive(line, reader) is None:
                return Loaded(500, f"rank {rank} ended while it loaded the model")
        return None

    def predict(self, message: ToBackend, bodies: Sequence[Any]) -> None:
        """Have them run a batch as well, if that is how this model is divided. Raises RankDied."""
        if not self._share:
            return
        try:
            for line in self._lines:
                send(line, encode(message, bodies))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise RankDied("another rank of this model has ended") from error


def follow(ends: Ends, service: Any) -> int:
    """Do what rank 0 says until it ends; the exit code. Of this rank the front hears only why it could not load."""
    (line,) = ends.lines
    reader: FrameReader[ToBackend] = FrameReader(ToBackend, MAX_FRAME)
    while (frame := receive(line, reader)) is not None:
        if not isinstance(frame.message, Load):
            service.predict(frame.message, frame.bodies)
            continue
        loaded = service.load(frame.message)
        if loaded.code != 200:
            text = f"rank {ends.rank}: {loaded.message}"
            send(ends.front, encode(Loaded(loaded.code, text[:_DETAIL], loaded.failure)))
            return 1
        ends.front.close()
        send(line, encode(loaded))
    return 0
