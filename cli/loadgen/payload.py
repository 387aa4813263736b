"""Payloads: request bodies from files and folders, and the requests that carry them."""

from __future__ import annotations

import mimetypes
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_ROUND = 4096  # requests after which the order repeats, at least
_PLAIN = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Payload:
    """A request body. `name` is used in messages.

    `wire` is sent in place of `body` where a protocol wraps it, with `headers`; answers are checked against `body`.
    """

    name: str
    body: bytes
    content_type: str = _PLAIN
    wire: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def sent(self) -> bytes:
        """Return the bytes that are sent."""
        return self.body if self.wire is None else self.wire

    def request(self, target: str, host: str, headers: Mapping[str, str]) -> bytes:
        """Return the bytes of a POST request to the path `target` with this body."""
        lines = [
            f"POST {target} HTTP/1.1",
            f"Host: {host}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.sent)}",
            *(f"{name}: {value}" for name, value in (*self.headers, *headers.items())),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + self.sent


def read_payloads(paths: Iterable[Path], content_type: str | None = None) -> tuple[Payload, ...]:
    """Read the given files and all files below the given folders, sorted by name, except hidden ones.

    Raises OSError, and ValueError if there is no file.
    """
    files = [file for path in paths for file in ([path] if not path.is_dir() else sorted(_below(path)))]
    if not files:
        raise ValueError("no payload: the folder holds no file")
    return tuple(Payload(str(file), file.read_bytes(), content_type or _guess(file)) for file in files)


def _below(folder: Path) -> Iterable[Path]:
    return (
        file
        for file in folder.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def _guess(file: Path) -> str:
    return mimetypes.guess_type(file.name)[0] or _PLAIN


def order(count: int, seed: int) -> tuple[int, ...]:
    """Return the indexes of `count` payloads in the order in which to send them, to be repeated.

    Each payload occurs equally often, and `seed` decides the order.
    """
    draw, drawn = random.Random(seed), []  # noqa: S311  (no secret)
    while len(drawn) < max(count, _ROUND if count > 1 else 1):
        turn = list(range(count))
        draw.shuffle(turn)
        drawn += turn
    return tuple(drawn)
