"""Finding an archive as a registration does, for tests that have no event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torchserve.core.archive.downloads import Downloads
from torchserve.core.archive.limits import DownloadLimits
from torchserve.core.archive.store import Located


def locate(
    url: str,
    store: Path | None,
    allowed_urls: Sequence[str] | None = None,
    limits: DownloadLimits | None = None,
    *,
    signed: bool = False,
) -> Located:
    limits = replace(limits or DownloadLimits(), pause=0.0)
    return asyncio.run(Downloads(store, allowed_urls, limits).locate(url, signed=signed))
