"""Unpacks a .tar.gz in one forward pass. The standard library parses headers; it never writes a file here."""

from __future__ import annotations

import gzip
import tarfile
from typing import IO, TYPE_CHECKING, cast

from ..errors import InvalidArchive
from .unpack import CHUNK, Unpacker, is_icon

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER_BYTES = 1 << 20


def untar(file: IO[bytes], unpacker: Unpacker) -> None:
    """Unpack the gzipped tar `file`. Raises InvalidArchive, or what tarfile and gzip raise on broken data."""
    with gzip.GzipFile(fileobj=file, mode="rb") as unzipped:
        stream = _Stream(unzipped, unpacker)
        with tarfile.TarFile(fileobj=cast("IO[bytes]", cast("object", stream)), mode="r") as archive:
            while (member := archive.next()) is not None:
                stream.header_ends()
                _write(archive, member, unpacker)
                # TarFile keeps every header it has read, and hostile headers are large.
                archive.members = []  # pyright: ignore[reportAttributeAccessIssue]
                archive.pax_headers = {}
                stream.header_begins()
        stream.drain()
    unpacker.finish()


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, unpacker: Unpacker) -> None:
    name = _readable(member.name)
    if is_icon(name):
        return
    if member.type == tarfile.DIRTYPE:
        unpacker.folder(name)
    elif member.type in (tarfile.LNKTYPE, tarfile.SYMTYPE):
        unpacker.link(name, _readable(member.linkname), hard=member.type == tarfile.LNKTYPE)
    elif not member.isreg():
        raise InvalidArchive(f"entry {name!r} is a device or otherwise no plain file")
    else:
        if member.issparse():
            _check_holes(name, member, unpacker)
        unpacker.file(name, _chunks(archive, member), executable=bool(member.mode & 0o111))


def _readable(name: str) -> str:
    """Return a name with U+FFFD for each byte that is no UTF-8, as Java reads it: the name is of an older encoding."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _check_holes(name: str, member: tarfile.TarInfo, unpacker: Unpacker) -> None:
    """Account for the holes of a sparse file, which are no bytes of the archive. Raises InvalidArchive.

    Pieces out of order would have TarFile look for a position for ever.
    """
    end = stored = 0
    for offset, size in cast("list[tuple[int, int]]", member.sparse):
        if size == 0:
            continue  # GNU tar's own form has four places for pieces, of which unused ones are zeros
        if size < 0 or offset < end:
            raise InvalidArchive(f"it is corrupt: the pieces of the sparse file {name!r} overlap")
        end, stored = offset + size, stored + size
    if end > member.size:
        raise InvalidArchive(f"it is corrupt: a piece of the sparse file {name!r} lies behind its end")
    unpacker.spend(member.size - stored)
    unpacker.require_free(member.size)


def _chunks(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    content = archive.extractfile(member)
    while content is not None and (chunk := content.read(CHUNK)):
        yield chunk


class _Stream:
    """The unzipped bytes as TarFile reads them: forward only, each one accounted for, headers of bounded size.

    TarFile trusts the sizes in headers: it would read a long name of 8 GiB into memory, and with a negative size read
    the same place for ever.
    """

    def __init__(self, unzipped: gzip.GzipFile, unpacker: Unpacker) -> None:
        self._unzipped = unzipped
        self._unpacker = unpacker
        self._position = 0
        self._header_end: int | None = _HEADER_BYTES

    def header_begins(self) -> None:
        """Bound the reads that follow: TarFile reads the padding of a file, and the next header."""
        self._header_end = self._position + _HEADER_BYTES

    def header_ends(self) -> None:
        """Count the reads that follow as a file's content."""
        self._header_end = None

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        if position < self._position:
            raise InvalidArchive("it is corrupt: an entry's size leads backwards")
        while self._position < position and self.read(min(CHUNK, position - self._position)):
            pass
        return self._position

    def read(self, count: int) -> bytes:
        if count < 0:
            raise InvalidArchive("it is corrupt: an entry declares a negative size")
        if self._header_end is not None and self._position + count > self._header_end:
            raise InvalidArchive(f"an entry's header is larger than {_HEADER_BYTES} bytes")
        data = self._unzipped.read(count)
        self._position += len(data)
        self._unpacker.spend(len(data))
        return data

    def drain(self) -> None:
        """Read to the end, where gzip verifies its checksum: TarFile takes a bad header for the end."""
        self.header_ends()
        while data := self.read(CHUNK):
            if data.strip(b"\0"):
                raise InvalidArchive("it is corrupt: what follows its last entry is no entry")
