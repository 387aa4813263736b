"""RemoteStart: describes one worker that is to be started on another host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...wire.remote_messages import Ranks
from .placer import Demand


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteStart:
    """A worker to be started. `hidden`, `variables`, `python` and `ranks` are those of wire's Start."""

    worker: str
    model_dir: Path
    demand: Demand
    hidden: str | None = None
    variables: Mapping[str, str]
    python: str | None = None
    ranks: Ranks | None = None
