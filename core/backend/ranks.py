"""The ranks of a parallel model: rank 0 talks to the front, and sends the others what they must run, without an answer.

A rank receives its sockets over its standard input (core.wire.torchrun).
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
from ..wire.remote_messages import Ticket
from ..wire.torchrun import TICKET
from .secure_stream import connect
from .stream import MAX_FRAME, Stream, receive, send

_MOST_ENDS = 250  # the kernel passes at most 253 descriptors at once
_DETAIL = 16_000  # characters: two ranks may write to one socket, so that a frame must fit into one write


class RankDied(Exception):
    """A loss of the connection to another rank; torchrun ends this rank as well."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The sockets of a rank. `front` is the worker's connection to the front; on another host only rank 0 has that, and
    the others a socket to the minder.

    Rank 0 has a line to each of the other ranks, in their order; each of these has one line, to rank 0.
    """

    rank: int
    front: Stream
    lines: tuple[socket.socket, ...]


def take_ends() -> Ends:
    """Receive this rank's sockets, and close the others', so that a rank's death closes its line.

    Raises OSError, msgspec.MsgspecError if rank 0 has a ticket and can't connect by it.
    """
    rank = int(os.environ["LOCAL_RANK"])
    with socket.socket(fileno=os.dup(0)) as stdin:
        word, numbers, _, _ = socket.recv_fds(stdin, 16, _MOST_ENDS, socket.MSG_CMSG_CLOEXEC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    near, *rest = (socket.socket(fileno=number) for number in numbers)
    half = len(rest) // 2
    mine = rest[:half] if rank == 0 else [rest[half + rank - 1]]
    for end in rest:
        if end not in mine:
            end.close()
    front = _by_ticket(near) if word == TICKET and rank == 0 else near
    return Ends(rank, front, tuple(mine))


def _by_ticket(minder: socket.socket) -> Stream:
    """Return a connection to the front, by the ticket that the minder has sent."""
    with minder, minder.makefile("rb") as lines:
        return connect(msgspec.json.decode(lines.readline(), type=Ticket))


def for_rank(load: Load, rank: int) -> Load:
    """Return `load` with the rank's own device: the one of its number, among those that the worker sees."""
    return load if load.gpu_id is None else msgspec.structs.replace(load, gpu_id=rank)


class Others:
    """The other ranks, as rank 0 sees them. With pp, each gets its work from the previous rank and not from here."""

    def __init__(self, lines: Sequence[socket.socket], kind: str) -> None:
        self._lines = lines
        self._share = kind != "pp"

    def load(self, load: Load) -> None:
        """Have all other ranks load the model while this one does too: most models' ranks meet while they load."""
        for rank, line in enumerate(self._lines, 1):
            send(line, encode(for_rank(load, rank)))

    def loaded(self) -> Loaded | None:
        """Wait until all other ranks have loaded. Return None, or the failure if one has ended."""
        for rank, line in enumerate(self._lines, 1):
            reader: FrameReader[Loaded] = FrameReader(Loaded, MAX_FRAME)
            if receive(line, reader) is None:
                return Loaded(500, f"rank {rank} ended while it loaded the model")
        return None

    def predict(self, message: ToBackend, bodies: Sequence[Any]) -> None:
        """Have the other ranks run a batch as well, unless the model is divided by pp. Raises RankDied."""
        if not self._share:
            return
        try:
            for line in self._lines:
                send(line, encode(message, bodies))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise RankDied("another rank of this model has ended") from error


def follow(ends: Ends, service: Any) -> int:
    """Do what rank 0 sends until it ends. Return the exit code.

    This rank sends the front only why it could not load.
    """
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
