"""Unpacks a .mar: a zip of plain files, stored or deflated. Every other feature of the format is refused."""

from __future__ import annotations

import stat
import struct
import zipfile
from typing import IO, TYPE_CHECKING

from ..errors import InvalidArchive
from .unpack import CHUNK, Unpacker, safe_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

_END = b"PK\5\6"
_END_64 = b"PK\6\6"
_LOCATOR_64 = b"PK\6\7"
_ENTRY = b"PK\1\2"
_END_SIZE = 22
_END_64_SIZES = 56 + 20
_MAX_COMMENT = 0xFFFF
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_BYTES_PER_ENTRY = 640  # room in the directory for one entry's names and fields, on average
_PLAIN = (0, stat.S_IFREG, stat.S_IFDIR)


def unzip(file: IO[bytes], unpacker: Unpacker) -> None:
    """Unpack the zip `file`. Raises InvalidArchive, or what zipfile and zlib raise on broken data."""
    _bound_directory(file, unpacker.limits.entries)
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        for info in infos:
            _check(info, unpacker.limits.depth)
        unpacker.require_free(sum(info.file_size for info in infos))
        for info in infos:
            if info.is_dir():
                unpacker.folder(info.filename)
                continue
            mode = info.external_attr >> 16
            size = unpacker.file(info.filename, _chunks(archive, info, unpacker), executable=bool(mode & 0o111))
            if size != info.file_size:
                raise InvalidArchive(f"entry {info.filename!r} has {size} bytes where {info.file_size} are declared")


def _bound_directory(file: IO[bytes], entries: int) -> None:
    # The entries are counted here, because zipfile makes an object of half a kilobyte of each before it returns.
    size = file.seek(0, 2)
    start = max(0, size - _END_SIZE - _MAX_COMMENT - _END_64_SIZES)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        raise InvalidArchive("it is no zip archive, or is cut short: its directory is missing")
    (length,) = struct.unpack_from("<I", tail, at + 12)
    end = at
    if at >= _END_64_SIZES and tail[at - 20 : at - 16] == _LOCATOR_64 and tail[at - 76 : at - 72] == _END_64:
        end = at - _END_64_SIZES
        (length,) = struct.unpack_from("<Q", tail, end + 40)
    begin = start + end - length
    if begin < 0:
        raise InvalidArchive("it is cut short or corrupt: its directory doesn't fit into it")
    if length > entries * _BYTES_PER_ENTRY:
        raise InvalidArchive(f"its directory of {length} bytes is too large for {entries} entries")
    file.seek(begin)
    if file.read(length).count(_ENTRY) > entries:
        raise InvalidArchive(f"it holds more than {entries} entries")
    file.seek(0)


def _check(info: zipfile.ZipInfo, depth: int) -> None:
    # zipfile cuts the raw name at a NUL, and newer versions replace it by a name from an extra field: both are checked.
    safe_parts(info.orig_filename, depth)
    safe_parts(info.filename, depth)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in _PLAIN:
        raise InvalidArchive(f"entry {info.filename!r} is a link or a device")
    if info.flag_bits & _ENCRYPTED:
        raise InvalidArchive(f"entry {info.filename!r} is encrypted")
    # The standard library decompresses the other methods without a bound on what one read may become.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidArchive(f"entry {info.filename!r} is neither stored nor deflated")


def _chunks(archive: zipfile.ZipFile, info: zipfile.ZipInfo, unpacker: Unpacker) -> Iterator[bytes]:
    with archive.open(info) as entry:
        while chunk := entry.read(CHUNK):
            unpacker.spend(len(chunk))
            yield chunk
