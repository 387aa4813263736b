"""Limits: the most that opening an archive may cost. Archives come from others, and must not fill a disk or the memory.

DownloadLimits bound its download.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The caps for opening an archive; sizes are in bytes.

    `total_bytes` bounds what it unpacks to, and `free_bytes` stay free on the disk it is unpacked to. `entries` counts
    files, folders and links together. `yaml_expanded` is the size of model-config.yaml with every alias written out.
    """

    total_bytes: int = 256 << 30
    entries: int = 100_000
    depth: int = 64
    free_bytes: int = 16 << 20
    manifest_bytes: int = 1 << 20
    yaml_bytes: int = 1 << 20
    yaml_depth: int = 50
    yaml_expanded: int = 4 << 20
    yaml_plain_scalar: int = 16 << 10


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """The caps of one download: bytes, seconds without a byte, seconds in all, and redirects.

    A download is tried up to `attempts` times while the cause of its failure may pass, with `pause` seconds before the
    second attempt and four times as many before each further one.
    """

    max_bytes: int = 256 << 30
    idle_timeout: float = 30.0
    total_timeout: float = 3600.0
    redirects: int = 5
    attempts: int = 3
    pause: float = 1.0
