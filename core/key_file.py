"""KeyFile: the file that tells the server's tokens to its owner alone."""

from __future__ import annotations

import contextlib
from pathlib import Path

from .errors import InvalidConfig
from .trusted_file import read_trusted, replace_file

NAME = "key_file.json"


class KeyFile:
    """The file `key_file.json` in a folder. It is replaced as a whole, and other users can't read it at any time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._written = b""

    def write(self, text: bytes) -> None:
        """Replace the file. Raises OSError; the file is then unchanged."""
        replace_file(self.path, text)
        self._written = text

    def create(self, text: bytes) -> None:
        """Write the file for the first time. Raises InvalidConfig."""
        try:
            self.write(text)
        except OSError as error:
            raise InvalidConfig(
                f"Token authorization is on and its keys can't be written to {self.path}: {error.strerror}."
                " Start in a folder that can be written, or switch it off with --disable-token-auth."
            ) from None

    def remove(self) -> None:
        """Delete the file, unless another server has put its own keys there meanwhile."""
        with contextlib.suppress(OSError):
            if self._written and read_trusted(self.path) == self._written:
                self.path.unlink()
