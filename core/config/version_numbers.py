"""VersionNumbers: the numbers of a model version that both the key `models` and a snapshot may give."""

from __future__ import annotations

from dataclasses import dataclass

# field -> TorchServe's key
KEYS = {
    "min_workers": "minWorkers",
    "max_workers": "maxWorkers",
    "batch_size": "batchSize",
    "max_batch_delay": "maxBatchDelay",
    "response_timeout": "responseTimeout",
    "startup_timeout": "startupTimeout",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionNumbers:
    """The numbers of a model version; None leaves one out. In TorchServe's units: delay in ms, timeouts in s."""

    min_workers: int | None = None
    max_workers: int | None = None
    batch_size: int | None = None
    max_batch_delay: int | None = None
    response_timeout: int | None = None
    startup_timeout: int | None = None
