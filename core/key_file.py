"""KeyFile: where the tokens are written down for those who may read them: the owner of the server alone."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from .errors import InvalidConfig

NAME = "key_file.json"


class KeyFile:
    """`key_file.json` in a folder. It is replaced as a whole and never readable by others, not for a moment."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._written = b""

    def write(self, text: bytes) -> None:
        """Raises OSError, and the file is then as it was."""
        draft = self.path.with_name(f".{NAME}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text)
            draft.replace(self.path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        self._written = text

    def create(self, text: bytes) -> None:
        """The first `write`. Raises InvalidConfig."""
        try:
            self.write(text)
        except OSError as error:
            raise InvalidConfig(
                f"Token authorization is on and its keys can't be written to {self.path}: {error.strerror}."
                " Start in a folder that can be written, or switch it off with --disable-token-auth."
            ) from None

    def remove(self) -> None:
        """Delete it, unless another server has put its own keys there meanwhile."""
        with contextlib.suppress(OSError):
            if self._written and self.path.read_bytes() == self._written:
                self.path.unlink()
