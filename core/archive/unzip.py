"""Unpacks a .mar: a zip of files and links to them, stored or deflated, as any tool writes it."""

from __future__ import annotations

import contextlib
import stat
import struct
import zipfile
from typing import IO, TYPE_CHECKING

from ..errors import InvalidArchive
from .unpack import CHUNK, Unpacker, is_icon, safe_parts

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
_LONGEST_LINK = 4096  # bytes of a link's target
_UTF8 = 0x800
_UNIX = (3, 19)  # what made the entry: Unix, or macOS
_DOS = (0, 10, 11, 14)  # MS-DOS and Windows
_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd", 99: "AES"}


def unzip(file: IO[bytes], unpacker: Unpacker) -> None:
    """Unpack the zip `file`. Raises InvalidArchive, or what zipfile and zlib raise on broken data."""
    bound_directory(file, unpacker.limits.entries)
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        for info in infos:
            _check(info, unpacker.limits.depth)
        unpacker.require_free(sum(info.file_size for info in infos))
        for info in infos:
            _unzip(archive, info, unpacker)
    unpacker.finish()


def _unzip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, unpacker: Unpacker) -> None:
    name = _name(info)
    if is_icon(name):
        return
    if name.endswith("/"):
        unpacker.folder(name)
        return
    mode = info.external_attr >> 16
    if _is_link(info):
        unpacker.link(name, _target(archive, info), hard=False)
        return
    size = unpacker.file(name, _chunks(archive, info, unpacker), executable=bool(mode & 0o111))
    if size != info.file_size:
        raise InvalidArchive(f"entry {name!r} has {size} bytes where {info.file_size} are declared")


def bound_directory(file: IO[bytes], entries: int) -> None:
    """Raise InvalidArchive for a directory of more than `entries` entries.

    They are counted here, because zipfile makes an object of half a kilobyte of each before it returns.
    """
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
    name = _name(info)
    if not is_icon(name):
        # zipfile cuts the raw name at a NUL, and newer versions replace it by a name from an extra field: both are
        # checked.
        safe_parts(info.orig_filename, depth)
        safe_parts(name, depth)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.create_system in _UNIX and kind not in (*_PLAIN, stat.S_IFLNK):
        raise InvalidArchive(f"entry {name!r} is a device")
    if info.flag_bits & _ENCRYPTED:
        raise InvalidArchive(f"entry {name!r} is encrypted")
    # The standard library decompresses the other methods that it knows without a bound on what one read may become.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        method = _METHODS.get(info.compress_type, f"method {info.compress_type}")
        raise InvalidArchive(
            f"entry {name!r} is compressed with {method}, which no model server reads: it must be stored or deflated"
            " (zip -Z deflate, 7z -mm=Deflate)"
        )


def _name(info: zipfile.ZipInfo) -> str:
    """Return an entry's name, with slashes between its parts.

    macOS writes UTF-8 without the flag that says so, and older programs for Windows write backslashes.
    """
    name = info.filename
    if not info.flag_bits & _UTF8 and name == info.orig_filename:
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return name.replace("\\", "/") if info.create_system in _DOS else name


def _is_link(info: zipfile.ZipInfo) -> bool:
    return info.create_system in _UNIX and stat.S_ISLNK(info.external_attr >> 16)


def _target(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    with archive.open(info) as entry:
        target = entry.read(_LONGEST_LINK + 1)
    if len(target) > _LONGEST_LINK:
        raise InvalidArchive(f"entry {info.filename!r} is a link to a name of more than {_LONGEST_LINK} bytes")
    return target.decode("utf-8", "replace")


def _chunks(archive: zipfile.ZipFile, info: zipfile.ZipInfo, unpacker: Unpacker) -> Iterator[bytes]:
    with archive.open(info) as entry:
        while chunk := entry.read(CHUNK):
            unpacker.spend(len(chunk))
            yield chunk
