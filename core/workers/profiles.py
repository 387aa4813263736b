"""WorkerProfiles: the profile of one worker that is under way: ordered, ended in time, and put together.

    take ─ Profile(begin) ─► process ─ records ─┐
      │ after its seconds                       │ enough batches
      └─ Profile(end) ──────► process ──────────┴─► Profiled*, last ─► the file

A worker reads an order between two batches, so that a profile begins with the next one. Whoever asked may leave: the
profile is ended all the same, and the next one is refused until the process has told the last piece of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from ..errors import NotProfiled, ProfileRunning
from ..payload import Body
from ..wire.frames import encode
from ..wire.messages import MOST_PROFILE, Profile, Profiled
from .protocol_error import WorkerProtocolError

WRITING: Final = 120.0  # seconds that a process may take to write what it has recorded

Send = Callable[[list[Body]], None]


class ProfileFile(NamedTuple):
    """A profile: Chrome's trace, compressed by gzip, and what was recorded."""

    data: bytes
    note: str


class WorkerProfiles:
    """The profiles of one worker, one at a time. `send` writes a frame to its process."""

    def __init__(self, worker: str, send: Send) -> None:
        self._worker = worker
        self._send = send
        self._number = 0
        self._pieces: list[Body] = []
        self._size = 0
        self._outcome: asyncio.Future[ProfileFile | str] | None = None

    @property
    def running(self) -> bool:
        """Whether a profile is being taken, or its last piece has not come yet."""
        return self._outcome is not None

    async def take(self, seconds: float, patience: float) -> ProfileFile:
        """Record for `seconds`. The process may take `patience` seconds more for the batches that it runs.

        Raises ProfileRunning, NotProfiled.
        """
        if self.running:
            raise ProfileRunning(f"A profile of {self._worker} is being taken, and there is one at a time.")
        outcome = self._outcome = asyncio.get_running_loop().create_future()
        self._number += 1
        number, self._pieces, self._size = self._number, [], 0
        self._send(encode(Profile(number, begin=True)))
        try:
            await asyncio.wait([outcome], timeout=seconds)
        finally:
            if not outcome.done():
                self._send(encode(Profile(number, begin=False)))
        await asyncio.wait([outcome], timeout=patience + WRITING)
        if not outcome.done():
            raise NotProfiled(
                f"{self._worker} has not ended its profile {patience + WRITING:g} s after it was told to. What it does"
                " instead is shown by `torchserve profile --stacks`."
            )
        found = outcome.result()
        if isinstance(found, str):
            raise NotProfiled(f"There is no profile of {self._worker}: {found}.")
        return found

    def receive(self, message: Profiled, bodies: Sequence[Body]) -> None:
        """Take a piece. Raises WorkerProtocolError."""
        outcome = self._outcome
        self._size += sum(map(len, bodies))
        if outcome is None or message.number != self._number or self._size > MOST_PROFILE:
            raise WorkerProtocolError(f"a piece of profile {message.number}, which it was not asked for, or too much")
        self._pieces += bodies
        if message.last:
            file = ProfileFile(b"".join(self._pieces), message.note)
            self._end(message.error or file)

    def close(self) -> None:
        """End what is under way: the process has ended."""
        if self._outcome is not None:
            self._end("its process has ended")

    def _end(self, found: ProfileFile | str) -> None:
        outcome, self._outcome, self._pieces = self._outcome, None, []
        if outcome is not None and not outcome.done():
            outcome.set_result(found)
