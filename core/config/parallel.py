"""Parallel: a model that needs several processes or GPUs: parallelType, parallelLevel and torchrun of its yaml."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel:
    """The layout of a parallel model.

    If `kind` is pp, tp or pptp, torchrun starts `level` processes on this host; if it is custom, there is one process.
    Either way a worker gets `level` GPUs. The other fields are torchrun's; None is its own default.
    """

    kind: str
    level: int
    nodes: int = 1
    node_rank: int = 0
    rdzv_backend: str = "c10d"
    rdzv_endpoint: str | None = None
    rdzv_conf: str | None = None
    monitor_interval: int | None = None  # seconds
    threads: int | None = None

    @property
    def ranks(self) -> int:
        """The number of processes that run the handler under torchrun; 0 without torchrun."""
        return 0 if self.kind == "custom" else self.level

    def torchrun_options(self) -> tuple[str, ...]:
        """Return torchrun's options for one worker."""
        endpoint = self.rdzv_endpoint
        if endpoint is None and self.nodes == 1 and self.rdzv_backend == "c10d":
            endpoint = "localhost:0"  # a free port: torchrun's default is one port for all workers of the host
        options: list[tuple[str, object]] = [
            ("nnodes", self.nodes),
            ("nproc-per-node", self.level),
            ("node-rank", self.node_rank),
            ("rdzv-backend", self.rdzv_backend),
            ("rdzv-endpoint", endpoint),
            ("rdzv-conf", self.rdzv_conf),
            ("monitor-interval", self.monitor_interval),
        ]
        return tuple(f"--{key}={value}" for key, value in options if value is not None)


MOST_LEVEL = 127  # ranks: one message can't carry the sockets of more
_MOST = {"level": MOST_LEVEL, "threads": 4096}  # by field; of the others 2^31 - 1
_KINDS = ("pp", "tp", "pptp", "custom")
# torchrun's key in the yaml -> field, its type and its smallest value
_TORCHRUN: dict[str, tuple[str, type, int]] = {
    "nnodes": ("nodes", int, 1),
    "nproc-per-node": ("level", int, 1),  # as parallelLevel
    "node-rank": ("node_rank", int, 0),
    "rdzv-backend": ("rdzv_backend", str, 0),
    "rdzv-endpoint": ("rdzv_endpoint", str, 0),
    "rdzv-conf": ("rdzv_conf", str, 0),
    "monitor-interval": ("monitor_interval", int, 1),
    "OMP_NUMBER_THREADS": ("threads", int, 1),
}


def read_parallel(config: Mapping[str, Any]) -> Parallel | None:
    """Return the layout, None for a model that isn't parallel. A value of the wrong type is logged and not used."""
    said = config.get("parallelType")
    if not said:
        return None
    kind = said.lower() if isinstance(said, str) else ""
    if kind not in _KINDS:
        log.warning("model-config.yaml: parallelType must be pp, tp, pptp or custom, not %r; it is ignored", said)
        return None
    found: dict[str, Any] = {"level": 1}
    level = config.get("parallelLevel")
    if _fits(level, int, 1, MOST_LEVEL):
        found["level"] = level
    elif level is not None:
        log.warning(
            "model-config.yaml: parallelLevel must be a whole number from 1 to %d, not %r; 1 is used", MOST_LEVEL, level
        )
    torchrun = config.get("torchrun") or {}
    if not isinstance(torchrun, dict):
        log.warning("model-config.yaml: torchrun must hold options of torchrun, not %r; it is ignored", torchrun)
        torchrun = {}
    for key, value in torchrun.items():
        name, wanted, low = _TORCHRUN.get(key, ("", str, 0))
        if not name:
            log.warning("model-config.yaml: torchrun.%s is ignored; there are %s", key, ", ".join(_TORCHRUN))
        elif _fits(value, wanted, low, _MOST.get(name) or 2**31 - 1):
            found[name] = value
        elif wanted is str:
            log.warning("model-config.yaml: torchrun.%s must be a text, not %r; the default is used", key, value)
        else:
            log.warning(
                "model-config.yaml: torchrun.%s must be a whole number from %d to %d, not %r; the default is used",
                *(key, low, _MOST.get(name) or 2**31 - 1, value),
            )
    return Parallel(kind=kind, **found)


def _fits(value: object, wanted: type, low: int, high: int) -> bool:
    if wanted is str:
        return isinstance(value, str)
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
