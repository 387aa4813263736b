"""CertReload: loads a certificate again when its files change, for those who connect from then on."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

from ...core.errors import InvalidConfig
from .tls import Identity, load_identity, server_context

log = logging.getLogger(__name__)

EVERY = 5.0  # seconds between two looks at the files


class CertReload:
    """A watch over the files of `identity` for `context`, which is in use."""

    def __init__(self, context: ssl.SSLContext, identity: Identity) -> None:
        self._context = context
        self._identity = identity
        self._seen = _marks(identity.files)

    async def run(self, every: float = EVERY) -> None:
        """Watch until cancelled; return at once if there are no files."""
        while self._identity.files:
            await asyncio.sleep(every)
            await self.look()

    async def look(self) -> bool:
        """Take what has changed, if it is whole; whether that was so. What can't be used leaves all as it is."""
        marks = await asyncio.to_thread(_marks, self._identity.files)
        if marks == self._seen or None in marks:  # a file that is being replaced may be gone for a moment
            return False
        try:
            # First elsewhere: half of a pair must not come into the context that is in use.
            await asyncio.to_thread(server_context, self._identity)
            load_identity(self._context, self._identity)  # here, for no handshake to be under way meanwhile
        except InvalidConfig as error:
            log.error("The new certificate can't be used, the old one stays: %s", error)
            self._seen = marks
            return False
        self._seen = marks
        log.info("The certificate was taken anew from %s", ", ".join(map(str, self._identity.files)))
        return True


def _marks(files: tuple[Path, ...]) -> list[tuple[int, int, int] | None]:
    """Return what changes when a file does; None where there is none. Follows links, as mounted secrets are ones."""
    marks: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            marks.append(None)
        else:
            marks.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return marks
