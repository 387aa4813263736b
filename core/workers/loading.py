"""Loading: how far a process has come with its model, and how long each part of it may take.

A handler's own work, which ends with Initialized, has the time of `startupTimeout`, as in TorchServe. What the server
itself adds behind it (measuring, warming up, compiling for the sizes of batches that will come) has a time of its own,
so that a model that loads in time in TorchServe does here.
"""

from __future__ import annotations

import asyncio

from ..wire.messages import Initialized, Loaded, Notes
from .load_failed import LoadFailed
from .protocol_error import WorkerProtocolError


class Loading:
    """The messages that a process sends before its first batch, and what it notes later. Times are in seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._initialized: asyncio.Future[None] = loop.create_future()
        self._loaded: asyncio.Future[Loaded] = loop.create_future()
        self.notes: dict[str, str] = {}

    def receive(self, message: Initialized | Loaded | Notes) -> None:
        """Note what the process says. Raises WorkerProtocolError for what is out of order."""
        if isinstance(message, Notes):
            if not self._loaded.done():
                raise WorkerProtocolError("Notes ahead of Loaded")
            self.notes = message.notes
            return
        if self._loaded.done() or (isinstance(message, Initialized) and self._initialized.done()):
            raise WorkerProtocolError(f"a second {type(message).__name__}, or one behind Loaded")
        if isinstance(message, Loaded):
            self.notes = message.notes
            self._loaded.set_result(message)
        else:
            self._initialized.set_result(None)

    def end(self, outcome: Loaded) -> None:
        """Set the outcome of a process that has ended, unless it has told its own."""
        if not self._loaded.done():
            self._loaded.set_result(outcome)

    async def outcome(self, startup: float, warm_up: float) -> Loaded | str:
        """Wait for the outcome. Return a text that says which time was over if it was."""
        first = asyncio.FIRST_COMPLETED
        done, _ = await asyncio.wait([self._loaded, self._initialized], timeout=startup, return_when=first)
        if not done:
            return f"did not load the model in {startup:g} s (startupTimeout)"
        done, _ = await asyncio.wait([self._loaded], timeout=warm_up)
        if not done:
            return (
                f"loaded the model, but did not warm it up in {warm_up:g} s (warmUpTimeout; warmUp: false in"
                " model-config.yaml leaves it out)"
            )
        return self._loaded.result()


def check_loaded(worker: str, loaded: Loaded) -> None:
    """Raise LoadFailed unless the process has loaded its model."""
    if loaded.code != 200:
        raise LoadFailed(
            f"{worker} could not load the model: {loaded.message}",
            out_of_memory=loaded.code == 507,
            brief=f"{worker} could not load the model; what it said is in the model log",
            failure=loaded.failure,
        )
