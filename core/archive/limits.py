"""Limits: what an archive may cost at most. An archive is code somebody sent; it must not fill a disk or the memory.

DownloadLimits say the same of its way here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps for opening an archive; sizes in bytes.

    Beyond `ratio_floor` unpacked bytes, an archive may unpack to `ratio` times its own size. `free_bytes` stay free on
    the disk it is unpacked to. `entries` counts files and folders together. `yaml_expanded` is the size of
    model-config.yaml with every alias written out.
    """

    total_bytes: int = 256 << 30
    ratio: int = 200
    ratio_floor: int = 64 << 20
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
    """Caps of one download: bytes, seconds without a byte, seconds in all, redirects.

    It is tried `attempts` times while the cause may pass, with `pause` seconds before the second and four times as many
    before each further one.
    """

    max_bytes: int = 256 << 30
    idle_timeout: float = 30.0
    total_timeout: float = 3600.0
    redirects: int = 5
    attempts: int = 3
    pause: float = 1.0
