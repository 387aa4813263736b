"""Inflation: decompresses bodies in steps, within a bound for each and one for all, since they may be bombs."""

from __future__ import annotations

import zlib
from collections.abc import Generator
from typing import Final

from ...core.errors import BadRequest, ServerFull, TooLarge
from ...core.payload import Body

_STEP: Final = 256 * 1024  # bytes of output: 1 ms
_MOST_TOGETHER: Final = 64 * 1024 * 1024  # bytes of all bodies that are being decompressed
_GZIP, _ZLIB, _RAW = 31, 15, -15
CODINGS: Final = ("gzip", "deflate", "identity")


def coding_of(field: str) -> str:
    """Return the coding that a Content-Encoding names, "" for none. Raises BadRequest for one that is not accepted."""
    coding = field.strip().lower().removeprefix("x-")
    if coding in {"", "identity"}:
        return ""
    if coding not in CODINGS:
        raise BadRequest(f"Content-Encoding must be one of {', '.join(CODINGS)}, not {field[:40]!r}.")
    return coding


class Inflation:
    """A decompression of bodies. Those that are under way may take 64 MiB together; a further one is refused."""

    def __init__(self) -> None:
        self._held = 0

    def inflate(self, body: Body, coding: str, most: int) -> Generator[None, None, bytes]:
        """Return the steps that decompress a body to at most `most` bytes. Raises BadRequest, TooLarge, ServerFull."""
        view = memoryview(body)
        window = _GZIP if coding == "gzip" else _ZLIB if _has_zlib_head(view) else _RAW
        engine = zlib.decompressobj(window)
        pieces: list[bytes] = []
        own = 0
        try:
            rest: Body = view
            while not engine.eof:
                piece = engine.decompress(rest, _STEP)
                if not piece and not len(engine.unconsumed_tail) and not engine.eof:
                    raise BadRequest(f"The body ends before its {coding} data do.")
                rest = engine.unconsumed_tail
                own += len(piece)
                self._hold(len(piece), own, most)
                pieces.append(piece)
                if not engine.eof:
                    yield
            if engine.unused_data:
                raise BadRequest(f"{len(engine.unused_data)} bytes follow the body's {coding} data.")
            return b"".join(pieces)
        except zlib.error as error:
            raise BadRequest(f"The body is no {coding} data: {error}.") from None
        finally:
            self._held -= own

    def _hold(self, size: int, own: int, most: int) -> None:
        self._held += size
        if own > most:
            raise TooLarge(f"The decompressed body has more than {most} bytes (max_request_size).")
        if self._held > _MOST_TOGETHER and self._held > own:
            raise ServerFull(
                f"Bodies of {self._held} bytes are being decompressed, which is more than {_MOST_TOGETHER}."
                " Send it again later.",
                retry_after=1.0,
            )


def _has_zlib_head(view: memoryview) -> bool:
    """Return whether `deflate` data have zlib's head, as RFC 9110 has it; some clients send them without."""
    return len(view) >= 2 and view[0] & 15 == 8 and (view[0] << 8 | view[1]) % 31 == 0
