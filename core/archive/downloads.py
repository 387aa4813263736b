"""Downloads: counts the users of each downloaded archive. A URL that several ask for at once is fetched once.

A file is deleted from the model store when the last model that came from it is removed. Must be called from one event
loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ArchiveExists
from .allowed_urls import AllowedUrls
from .download_progress import DownloadProgress
from .fetch import fetch, file_name
from .gcs import own_storage
from .limits import DownloadLimits
from .store import Located, is_fetched, locate, required

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Shared:
    """A download that is under way or complete; `users` is the number of those who wait for it or have it."""

    task: asyncio.Task[Path] | None = None
    users: int = 0
    progress: DownloadProgress | None = None


class Downloads:
    """A finder of archives, which downloads them where necessary. Blocking work is done in threads."""

    def __init__(
        self, store: Path | None, allowed_urls: Sequence[str] | None, limits: DownloadLimits | None = None
    ) -> None:
        self._store = store
        self._allowed_urls = allowed_urls
        self._limits = limits
        self._on_the_way: dict[tuple[str, bool], _Shared] = {}
        self._there: dict[Path, _Shared] = {}

    async def locate(self, url: str, *, signed: bool = False, reuse: bool = False) -> Located:
        """Find the archive at `url`. If it is `downloaded`, the caller must `release` it.

        With `reuse`, a file in the store that already has the download's name is taken instead. Raises what
        `store.locate` and `fetch` raise.
        """
        if not is_fetched(url):
            return await asyncio.to_thread(locate, url, self._store)
        try:
            path = await self._fetch(url, signed)
        except ArchiveExists:
            if not reuse:
                raise
            path = required(self._store) / file_name(url)
            log.warning("%s is not downloaded: the model store has a %s, which is taken instead", url, path.name)
            return Located(url, path, path.name)
        return Located(url, path, path.name, downloaded=True)

    def adopt(self, path: Path) -> None:
        """Count a user of a file that an earlier run has downloaded."""
        self._there.setdefault(path, _Shared()).users += 1

    async def release(self, path: Path) -> None:
        """Count one user less of `path`, and delete the file after the last one."""
        shared = self._there[path]
        shared.users -= 1
        if not shared.users:
            del self._there[path]
            await asyncio.to_thread(path.unlink, missing_ok=True)

    def on_the_way(self) -> list[DownloadProgress]:
        """Return the progress of each download that is under way."""
        return [shared.progress for shared in self._on_the_way.values() if shared.progress is not None]

    async def _fetch(self, url: str, signed: bool) -> Path:
        key = url, signed
        shared = self._on_the_way.get(key)
        if shared is None:
            shared = self._on_the_way[key] = _Shared(progress=DownloadProgress(url))
            shared.task = asyncio.create_task(self._run(key, shared))
        shared.users += 1
        assert shared.task is not None
        try:
            return await asyncio.shield(shared.task)
        except asyncio.CancelledError:
            await self._leave(shared)
            raise

    async def _run(self, key: tuple[str, bool], shared: _Shared) -> Path:
        try:
            allowed = AllowedUrls(self._allowed_urls, own_storage())
            path = await asyncio.to_thread(
                fetch, key[0], required(self._store), allowed, self._limits, signed=key[1], progress=shared.progress
            )
        finally:
            del self._on_the_way[key]
        if shared.users:
            self._there[path] = shared
        else:  # every caller was cancelled meanwhile
            await asyncio.to_thread(path.unlink, missing_ok=True)
        return path

    async def _leave(self, shared: _Shared) -> None:
        task = shared.task
        if task is not None and task.done() and not task.cancelled() and task.exception() is None:
            await self.release(task.result())
        else:
            shared.users -= 1
