"""RemoteWorkers: what all workers on other hosts share in a front: the engine that places them, the listener, the keys.

Nothing of it is started before the first worker is.
"""

from __future__ import annotations

import asyncio
import logging
from importlib.util import find_spec
from pathlib import Path

from ...config.settings import Settings
from ...errors import InvalidConfig
from ...wire.remote_messages import Ticket
from .listener import Listener, Taker
from .model_files import ModelFiles, read_model_files
from .one_time_keys import OneTimeKeys
from .placer import Placer
from .ray_placer import RayPlacer
from .remote_process import OnLine, RemoteProcess
from .remote_start import RemoteStart
from .tickets import Tickets

log = logging.getLogger(__name__)


class RemoteWorkers:
    """The front's side of all remote workers. `beat` and `grace` are those of wire's Ticket, in seconds."""

    def __init__(
        self, placer: Placer, *, encrypted: bool = True, port: int = 0, beat: float = 5.0, grace: float = 10.0
    ) -> None:
        """Listen on `port`, 0 for a free one. Raises InvalidConfig if connections can't be `encrypted`."""
        self.placer = placer
        self.beat = beat
        self.waiting: dict[str, str] = {}  # by worker, why it has no place yet
        self.tickets: Tickets[Taker] = Tickets()
        self._grace = grace
        self._keys = OneTimeKeys() if encrypted else None
        self._listener = Listener(self.tickets, self._keys.context if self._keys else None)
        self._wanted_port = port
        self._opening: asyncio.Task[tuple[str, int]] | None = None
        self._address = ("", 0)
        self._files: dict[Path, asyncio.Task[ModelFiles]] = {}

    def spawn(self, start: RemoteStart, on_line: OnLine) -> RemoteProcess:
        """Return the process of a worker, which is started by its `connect`."""
        return RemoteProcess(start, self, on_line)

    async def files_of(self, folder: Path) -> ModelFiles:
        """Return the files of a model, and have the listener open. Raises OSError, NotPlaced."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name="remote workers")
        try:
            self._address = await asyncio.shield(self._opening)
        except BaseException:
            if self._opening.done():
                self._opening = None  # the next start tries again
            raise
        if folder not in self._files:
            self._files[folder] = asyncio.create_task(asyncio.to_thread(read_model_files, folder))
        try:
            return await asyncio.shield(self._files[folder])
        except OSError:
            self._files.pop(folder, None)
            raise

    def forget(self, folder: Path) -> None:
        """Drop what is known of the files of a model that is removed."""
        self._files.pop(folder, None)

    def ticket(self, worker: str, epoch: int, taker: Taker) -> Ticket:
        """Return a ticket for one connection of one start. `files_of` must have returned before."""
        host, port = self._address
        key = self._keys.issue(worker) if self._keys else None
        nonce = self.tickets.issue(worker, epoch, key.fingerprint if key else "", taker)
        if self._keys is None or key is None:
            return Ticket(worker, epoch, host, port, nonce, beat=self.beat, grace=self._grace)
        return Ticket(
            worker, epoch, host, port, nonce, self._keys.authority, key.certificate, key.key, self.beat, self._grace
        )

    async def close(self) -> None:
        """Let no more processes connect, and end the engine's side."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        await self._listener.close()
        await self.placer.close()

    async def _open(self) -> tuple[str, int]:
        host = await self.placer.open()
        port = await self._listener.open(host, self._wanted_port)
        log.info("Workers on other hosts connect to %s:%d%s", host, port, "" if self._keys else ", without encryption")
        return host, port


def remote_workers(settings: Settings) -> RemoteWorkers | None:
    """Return what workers on other hosts share, None if they run on this one. Raises InvalidConfig."""
    engine, _, address = settings.engine.partition("=")
    if engine == "local":
        return None
    if find_spec("ray") is None:
        raise InvalidConfig("engine=ray needs the package ray: pip install 'torchserve[ray]', here and on the nodes")
    return RemoteWorkers(RayPlacer(address or None), encrypted=settings.engine_encryption, port=settings.engine_port)
