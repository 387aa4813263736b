"""KeyFile: where the tokens are written down for those who may read them: the owner of the server alone."""

from __future__ import annotations

import contextlib
from pathlib import Path

from .errors import InvalidConfig
from .trusted_file import read_trusted, replace_file

NAME = "key_file.json"


class KeyFile:
    """`key_file.json` in a folder. It is replaced as a whole and never readable by others, not for a moment."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._written = b""

    def write(self, text: bytes) -> None:
        """Raises OSError, and the file is then as it was."""
        replace_file(self.path, text)
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
            if self._written and read_trusted(self.path) == self._written:
                self.path.unlink()
