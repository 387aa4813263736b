"""Archives as tools make them: each is read as Python's zipfile and Java's read it, whatever it looks like to a guard."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from torchserve.core.archive.limits import Limits
from torchserve.core.archive.reader import Archive, open_archive
from torchserve.core.archive.writer import ArchiveFormat, Recipe, pack
from torchserve.core.errors import InvalidArchive

MIB = 1 << 20
MANIFEST = b'{"model": {"modelName": "m", "handler": "h.py"}}'
WHERE = "MAR-INF/MANIFEST.json"
MODEL = {WHERE: MANIFEST, "h.py": b"pass"}


def make_zip(files: dict[str, bytes], *, system: int = 3, flag: int | None = None, head: bytes = b"") -> bytes:
    """A zip whose entries were made on `system`. A `flag` of 0 takes away the one that says that names are UTF-8."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name.replace("\\", "|"))
            info.create_system, info.compress_type = system, zipfile.ZIP_DEFLATED
            info.external_attr = 0o100644 << 16 if system == 3 else 0x20
            archive.writestr(info, content)
    data = bytearray(out.getvalue().replace(b"|", b"\\"))
    if flag is not None:
        for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            at = data.find(signature)
            while at >= 0:
                data[at + offset : at + offset + 2] = flag.to_bytes(2, "little")
                at = data.find(signature, at + 4)
    return head + bytes(data)


def from_windows() -> bytes:
    return make_zip(
        {"MAR-INF\\MANIFEST.json": MANIFEST, "h.py": b"pass", "a\\b\\c.bin": b"c", "empty\\": b""}, system=0
    )


def from_finder() -> bytes:
    files = {f"m/{name}": content for name, content in MODEL.items()}
    files |= {"m/": b"", "m/größe.bin": b"g", "m/.DS_Store": b"x", "m/Icon\r": b"", "__MACOSX/m/._Icon\r": b"i"}
    return make_zip(files | {"__MACOSX/": b"", "__MACOSX/._m": b"fork", "__MACOSX/m/._h.py": b"fork"}, flag=0)


def of_an_old_pc() -> bytes:
    """Names in the code page 437, as programs for DOS wrote them."""
    data = make_zip(MODEL | {"gr__e.bin": b"g"}, system=0)
    return data.replace(b"gr__e.bin", b"gr\x94\xe1e.bin")


def appended() -> bytes:
    """As zipfile's mode "a" does, or Maven's: the file is there twice, and the later one counts."""
    out = io.BytesIO(make_zip(MODEL | {"w.pt": b"old weights", "lib/x.py": b""}))
    with zipfile.ZipFile(out, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("w.pt", b"new")
        archive.writestr("lib//x.py", b"y")
    return out.getvalue()


class Pipe(io.RawIOBase):
    """A place to write that can't seek, for which sizes follow behind each entry."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.data += memoryview(data)  # pyright: ignore[reportArgumentType]
        return len(memoryview(data))  # pyright: ignore[reportArgumentType]


def through_a_pipe(method: int = zipfile.ZIP_DEFLATED) -> bytes:
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", method) as archive:  # pyright: ignore[reportArgumentType, reportCallIssue]
        for name, content in MODEL.items():
            archive.writestr(name, content)
    return bytes(pipe.data)


def with_zip64_fields() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in MODEL.items():
            with archive.open(name, "w", force_zip64=True) as entry:
                entry.write(content)
    return out.getvalue()


def from_git(*more: tuple[str, str]) -> bytes:
    out = io.BytesIO(make_zip(MODEL | {"w/1.pt": b"weights"}))
    with zipfile.ZipFile(out, "a") as archive:
        archive.comment = b"0123456789abcdef0123456789abcdef01234567"
        for name, target in (("w/latest.pt", "1.pt"), ("w.pt", "w/latest.pt"), *more):
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, target)
    return out.getvalue()


def make_tar(*members: tuple[str, bytes | str, bytes], dialect: int = tarfile.GNU_FORMAT) -> bytes:
    """A .tar.gz of (name, content or target, kind)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=dialect, encoding="latin-1") as archive:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if isinstance(content, str):
                info.linkname = content
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content if isinstance(content, bytes) else b""))
    return out.getvalue()


FILE, HARD, SOFT, FOLDER = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE
PLAIN = tuple((f"m/{name}", content, FILE) for name, content in MODEL.items())


def sparse_tar() -> bytes:
    """As GNU tar's -S packs a file of 20 MiB of zeros but for two places."""
    out = io.BytesIO(gzip.decompress(make_tar(*PLAIN, dialect=tarfile.PAX_FORMAT)))
    with tarfile.open(fileobj=out, mode="a", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("m/GNUSparseFile.0/w.pt")
        info.pax_headers = {
            "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "m/w.pt",
            "GNU.sparse.realsize": str(20 * MIB),
        }  # fmt: skip
        packed = b"3\n0\n2\n1048576\n3\n20971520\n0\n".ljust(512, b"\0") + b"abcde"
        info.size = len(packed)
        archive.addfile(info, io.BytesIO(packed))
    return gzip.compress(out.getvalue())


def old_sparse_tar() -> bytes:
    """The same in GNU tar's own form, whose header has four places for pieces."""
    pieces = ((0, 2), (MIB, 3), (20 * MIB, 0), (0, 0))
    places = b"".join(b"%011o\0%011o\0" % piece for piece in pieces)
    fields = b"m/w.pt".ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % 5 + b"00000000000\0"
    rest = b"S" + bytes(100) + b"ustar  \0" + bytes(121) + places + b"\0" + b"%011o\0" % (20 * MIB) + bytes(17)
    header = fields + b"%06o\0 " % (sum(fields) + 8 * 32 + sum(rest)) + rest
    tar = gzip.decompress(make_tar(*PLAIN))
    return gzip.compress(header + b"abcde".ljust(512, b"\0") + tar)


HOLEY = b"ab".ljust(MIB, b"\0") + b"cde" + bytes(19 * MIB - 3)

CASES: dict[str, tuple[Callable[[], bytes], dict[str, bytes]]] = {
    "Windows, with backslashes": (from_windows, MODEL | {"a/b/c.bin": b"c"}),
    "Windows, with slashes": (lambda: make_zip(MODEL, system=0), MODEL),
    "macOS Finder": (from_finder, MODEL | {"größe.bin": b"g", ".DS_Store": b"x"}),
    "code page 437": (of_an_old_pc, MODEL | {"größe.bin": b"g"}),
    "Unix, a backslash in a name": (lambda: make_zip(MODEL | {"a\\b": b"x"}), MODEL | {"a\\b": b"x"}),
    "appended": (appended, MODEL | {"w.pt": b"new", "lib/x.py": b"y"}),
    "data descriptors": (through_a_pipe, MODEL),
    "data descriptors, stored": (lambda: through_a_pipe(zipfile.ZIP_STORED), MODEL),
    "zip64 fields": (with_zip64_fields, MODEL),
    "self-extracting": (lambda: make_zip(MODEL, head=b"#!/bin/sh\nexec unzip $0\n" * 100), MODEL),
    "something behind the end": (lambda: make_zip(MODEL) + b"\nsignature\n", MODEL),
    "git archive, zip": (from_git, MODEL | dict.fromkeys(("w/1.pt", "w/latest.pt", "w.pt"), b"weights")),
    "tar, hard link": (
        lambda: make_tar(*PLAIN, ("m/w", b"w", FILE), ("m/v", "m/w", HARD)),
        MODEL | {"w": b"w", "v": b"w"},
    ),
    "tar, links": (
        lambda: make_tar(("m/x/l", "../k", SOFT), ("m/k", "./w", SOFT), *PLAIN, ("m/w", b"w", FILE)),
        MODEL | {"w": b"w", "k": b"w", "x/l": b"w"},
    ),
    "tar, appended": (lambda: make_tar(("m/w", b"old", FILE), *PLAIN, ("m/w", b"new", FILE)), MODEL | {"w": b"new"}),
    "tar, a link that became a file": (
        lambda: make_tar(*PLAIN, ("m/w", "gone", SOFT), ("m/w", b"new", FILE)),
        MODEL | {"w": b"new"},
    ),
    "tar, a name in Latin-1": (
        lambda: make_tar(*PLAIN, ("m/gr\xf6\xdfe", b"g", FILE)),
        MODEL | {"gr\ufffd\ufffde": b"g"},
    ),
    "tar, the folder itself": (
        lambda: make_tar(("./", b"", FOLDER), *((f"./{name}", content, FILE) for name, content in MODEL.items())),
        MODEL,
    ),
    "tar, sparse": (sparse_tar, MODEL | {"w.pt": HOLEY}),
    "tar, sparse in the old form": (old_sparse_tar, MODEL | {"w.pt": HOLEY}),
    "tar, macOS": (
        lambda: make_tar(("._m", b"fork", FILE), *PLAIN, ("m/._h.py", b"fork", FILE), ("m/Icon\r", b"", FILE)),
        MODEL | {"._h.py": b"fork"},
    ),
}


def read(archive: Archive) -> dict[str, bytes]:
    found = (path for path in archive.model_dir.rglob("*") if path.is_file())
    return {path.relative_to(archive.model_dir).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize(("build", "expected"), CASES.values(), ids=CASES.keys())
def test_what_a_tool_made(build: Callable[[], bytes], expected: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "x.mar"
    path.write_bytes(build())
    archive = open_archive(path, tmp_path / "work")
    assert read(archive) == expected
    assert archive.manifest.handler == "h.py"
    assert not [each for each in archive.model_dir.rglob("*") if each.is_symlink()]
    archive.remove()
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize("archive_format", ["default", "tgz"])
def test_weights_of_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive_format: ArchiveFormat) -> None:
    monkeypatch.chdir(tmp_path)
    Path("h.py").write_text("pass")
    with Path("zeros.bin").open("wb") as file:
        file.truncate(100 * MIB)
    path = pack(Recipe("m", "1", "h.py", extra_files=["zeros.bin"]), tmp_path, archive_format=archive_format)
    assert path.stat().st_size < MIB
    assert (open_archive(path, tmp_path / "work").model_dir / "zeros.bin").stat().st_size == 100 * MIB
    for limits, cause in ((Limits(total_bytes=99 * MIB), f"unpacks to more than {99 * MIB}"), (Limits(entries=2), "2")):
        with pytest.raises(InvalidArchive, match=cause):
            open_archive(path, tmp_path / "refused", limits=limits)


def test_links_are_copies_where_the_file_system_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    path = tmp_path / "x.mar"
    path.write_bytes(from_git())
    monkeypatch.setattr(os, "link", refuse)
    archive = open_archive(path, tmp_path / "work")
    assert read(archive)["w.pt"] == b"weights"
    with pytest.raises(InvalidArchive, match="unpacks to more than 70 bytes"):
        open_archive(path, tmp_path / "work", limits=Limits(total_bytes=70))


def test_a_long_chain_of_links_ends(tmp_path: Path) -> None:
    path = tmp_path / "x.mar"
    path.write_bytes(from_git(*((f"l{n}", f"l{n + 1}") for n in range(100)), ("l100", "h.py")))
    with pytest.raises(InvalidArchive, match="is a link to"):
        open_archive(path, tmp_path / "work")
