"""WorkerSpec: describes one worker to be started."""

from __future__ import annotations

from dataclasses import dataclass

from ..wire.messages import Load
from .call_plane import CallPlane


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """A worker's name, the message by which it loads its model, and its responseTimeout in seconds.

    `device` names the kind of device that it runs on; the scheduler keeps the time that batches take by this name.
    If the model is `idempotent`, what its process ran when it ended is run once more by another one. If it `generates`
    text, it takes as many requests at a time as its engine has room for. `calls` takes what its handler asks of other
    models.
    """

    name: str
    load: Load
    timeout: float
    device: str = "cpu"
    generates: bool = False
    idempotent: bool = False
    calls: CallPlane | None = None
