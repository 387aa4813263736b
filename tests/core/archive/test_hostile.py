"""Archives that want to write elsewhere, fill the disk or the memory, or are simply broken: refused, without a trace."""

from __future__ import annotations

import gzip
import io
import os
import random
import shutil
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from torchserve.core.archive.limits import Limits
from torchserve.core.archive.reader import open_archive
from torchserve.core.errors import InvalidArchive

MIB = 1 << 20
Tree = Callable[[Path], dict[str, str]]
SMALL = Limits(total_bytes=8 * MIB, entries=20)
MANIFEST = ("MAR-INF/MANIFEST.json", b'{"model": {"modelName": "m", "configFile": "c.yaml"}}')


def make_zip(*entries: tuple[str, bytes], mode: int = 0o100644, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = method
            archive.writestr(info, content)
    return out.getvalue()


def make_tar(*entries: tuple[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, link, len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def encrypted() -> bytes:
    data = bytearray(make_zip(("a", b"x")))
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1
    return bytes(data)


def bad_crc() -> bytes:
    return make_zip(("a", b"content"), method=zipfile.ZIP_STORED).replace(b"content", b"CONTENT")


def lies_about_its_size() -> bytes:
    data = bytearray(make_zip(("a", bytes(5 * MIB))))
    struct.pack_into("<I", data, data.index(b"PK\1\2") + 24, 10)
    return bytes(data)


def directory_of(entries: int) -> bytes:
    """A zip that is nothing but a directory: 51 bytes an entry, each of which costs zipfile half a kilobyte."""
    records = b"".join(
        struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0) + b"%05x" % (n % MIB)
        for n in range(entries)
    )
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, entries & 0xFFFF, entries & 0xFFFF, len(records), 0, 0)
    return records + end


def same_entry_under_many_names() -> bytes:
    """Overlapping entries: one compressed block that every directory entry points at."""
    data = make_zip(("a", bytes(3 * MIB)))
    start = data.index(b"PK\1\2")
    record = data[start : data.index(b"PK\5\6")]
    records = b"".join(record.replace(b"a", bytes([98 + n]), 1) if n else record for n in range(10))
    return data[:start] + records + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 10, 10, len(records), start, 0)


def tar_header(name: bytes, size: bytes, kind: bytes) -> bytes:
    fields = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + size + b"00000000000\0"
    rest = kind + bytes(100) + b"ustar\x0000" + bytes(247)
    total = sum(fields) + 8 * 32 + sum(rest)
    return fields + b"%06o\0 " % total + rest


def declares_more_than_it_has() -> bytes:
    data = bytearray(make_zip(("a", b"x" * 500)))
    struct.pack_into("<I", data, data.index(b"PK\1\2") + 24, 1000)
    return bytes(data)


def as_zip64(data: bytes) -> bytes:
    """The same zip with the directory's place in the records for archives beyond 4 GiB."""
    at = data.rindex(b"PK\5\6")
    count, size, offset = struct.unpack_from("<H2I", data, at + 10)
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, at, 1)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return data[:at] + end64 + locator + end


def long_name_bomb() -> bytes:
    header = tar_header(b"././@LongLink", b"%011o\0" % (4 << 30), b"L")
    return gzip.compress(header + bytes(3 * MIB), 1)


def negative_size() -> bytes:
    size = b"\xff" * 10 + struct.pack(">h", -1024)
    return gzip.compress(tar_header(b"a", size, b"0") + bytes(4096))


def negative_long_name() -> bytes:
    size = b"\xff" * 10 + struct.pack(">h", -1024)
    return gzip.compress(tar_header(b"././@LongLink", size, b"L") + bytes(4096))


def sparse(pieces: str, size: int = 1 << 40) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a")
        info.pax_headers = {
            "GNU.sparse.size": str(size), "GNU.sparse.numblocks": str(pieces.count(",")), "GNU.sparse.map": pieces,
        }  # fmt: skip
        archive.addfile(info)
    return out.getvalue()


def flipped_gzip_checksum() -> bytes:
    data = bytearray(make_tar(("m/a", b"x")))
    data[-6] ^= 0xFF
    return bytes(data)


def broken_second_header() -> bytes:
    data = bytearray(gzip.decompress(make_tar(("m/a", b"x"), ("m/b", b"y"))))
    data[1024 + 100] ^= 0xFF
    return gzip.compress(bytes(data))


ESCAPES = {
    "parent": ("../evil", "leads outside"),
    "deep parent": ("a/b/../../../evil", "leads outside"),
    "inner parent": ("a/../b", "leads outside"),
    "sibling prefix": ("../work-evil/x", "leads outside"),
    "absolute": ("/tmp/evil", "absolute path"),
    "two slashes": ("//tmp/evil", "absolute path"),
    "backslash": ("..\\evil", "leads outside"),
    "inner backslash": ("a\\..\\..\\evil", "leads outside"),
    "rooted backslash": ("\\evil", "absolute path"),
    "drive": ("C:evil", "absolute path"),
    "newline": ("a\nb", "unprintable"),
    "empty": (".", "names no file"),
    "long name": ("n" * 300, "too long"),
    "long path": ("/".join(["n" * 100] * 20), "too long"),
    "deep": ("d/" * 80 + "x", "nested more than 64"),
}

LINKS = {
    "absolute": (b"/etc/passwd", "is a link to '/etc/passwd', outside"),
    "outside": (b"../../etc/passwd", "is a link to '../../etc/passwd', outside"),
    "out and in": (b"../../a/b", "outside"),
    "to nothing": (b"gone", "is a link to '.*/gone': no file of the archive"),
    "to a folder": (b".", "is a link to the folder '.*': pack the folder itself"),
    "to itself": (b"b", "is a link to '.*b': no file of the archive"),
    "empty": (b"", "is a link to '', outside|is a link to the folder"),
    "unprintable": (b"a\nb", r"is a link to 'a\\nb', outside"),
    "long": (b"x/" * 3000, "more than 4096 bytes|is a link to '.*', outside"),
}

CASES: dict[str, tuple[Callable[[], bytes], str]] = {
    **{f"zip {key}": (lambda name=name: make_zip((name, b"x")), cause) for key, (name, cause) in ESCAPES.items()},
    **{f"tar {key}": (lambda name=name: make_tar((name, b"x")), cause) for key, (name, cause) in ESCAPES.items()},
    "zip NUL": (lambda: make_zip(("a\x01../../evil", b"x")).replace(b"a\x01", b"a\x00"), "unprintable"),
    **{
        f"zip link {key}": (lambda target=target: make_zip(("a/b", target), mode=stat.S_IFLNK | 0o777), cause)
        for key, (target, cause) in LINKS.items()
    },
    "zip device": (lambda: make_zip(("a", b""), mode=stat.S_IFCHR | 0o666), "is a device"),
    "zip fifo": (lambda: make_zip(("a", b""), mode=stat.S_IFIFO | 0o666), "is a device"),
    "zip file and folder": (lambda: make_zip(("a", b"1"), ("a/b", b"2")), "needs a folder where a file is"),
    "zip folder and file": (lambda: make_zip(("a/b", b"1"), ("a", b"2")), "occurs twice"),
    "zip bzip2": (lambda: make_zip(("a", b"x"), method=zipfile.ZIP_BZIP2), "compressed with bzip2, which"),
    "zip LZMA": (lambda: make_zip(("a", b"x"), method=zipfile.ZIP_LZMA), "compressed with LZMA, which"),
    "zip encrypted": (encrypted, "entry 'a' is encrypted$"),
    "zip bad CRC": (bad_crc, "corrupt"),
    "zip truncated": (lambda: make_zip(("a", b"x" * 5000))[:-30], "cut short"),
    "zip without its beginning": (lambda: make_zip(("a", random.Random(1).randbytes(5000)))[3000:], "corrupt"),
    "zip bomb": (lambda: make_zip(("a", bytes(10 * MIB))), "more than 8388608 bytes"),
    "zip bombs": (lambda: make_zip(*((f"f{n}", bytes(MIB)) for n in range(9))), "more than 8388608 bytes"),
    "zip lying size": (lies_about_its_size, "corrupt"),
    "zip declaring more": (declares_more_than_it_has, "has 500 bytes where 1000 are declared"),
    "zip64 entries": (lambda: as_zip64(make_zip(*((f"f{n}", b"") for n in range(21)))), "more than 20 entries"),
    "zip overlapping": (same_entry_under_many_names, "corrupt|more than 8388608 bytes"),
    "zip too large": (lambda: make_zip(("a", random.Random(1).randbytes(MIB) * 9)), "more than 8388608 bytes"),
    "zip entries": (lambda: make_zip(*((f"f{n}", b"") for n in range(21))), "more than 20 entries"),
    "zip folders": (lambda: make_zip(("a/b/c/d/e/f/g/h/i/j/k", b""), ("l/m/n/o/p/q/r/s/t/u/v", b"")), "20 entries"),
    "zip directory": (lambda: directory_of(300), "too large for 20 entries|more than 20 entries"),
    **{
        f"tar symlink {key}": (
            lambda target=target: make_tar(("m/a", b""), kind=tarfile.SYMTYPE, link=target.decode()),
            cause,
        )
        for key, (target, cause) in LINKS.items()
    },
    "tar hardlink absolute": (lambda: make_tar(("m/a", b""), kind=tarfile.LNKTYPE, link="/etc/passwd"), "outside"),
    "tar hardlink outside": (lambda: make_tar(("m/a", b""), kind=tarfile.LNKTYPE, link="../passwd"), "outside"),
    "tar hardlink to itself": (lambda: make_tar(("m/a", b""), kind=tarfile.LNKTYPE, link="m/a"), "no file of the arch"),
    "tar char device": (lambda: make_tar(("m/a", b""), kind=tarfile.CHRTYPE), "a device"),
    "tar block device": (lambda: make_tar(("m/a", b""), kind=tarfile.BLKTYPE), "a device"),
    "tar fifo": (lambda: make_tar(("m/a", b""), kind=tarfile.FIFOTYPE), "no plain file"),
    "tar unknown kind": (lambda: make_tar(("m/a", b""), kind=b"Z"), "no plain file"),
    "tar sparse": (lambda: sparse("0,0"), "more than 8388608 bytes"),
    "tar sparse, overlapping": (lambda: sparse("0,5,3,5"), "pieces of the sparse file 'a' overlap"),
    "tar sparse, backwards": (lambda: sparse("9,1,0,1"), "pieces of the sparse file 'a' overlap"),
    "tar sparse, beyond": (lambda: sparse("100,5", size=50), "lies behind its end"),
    "tar sparse, negative": (lambda: sparse("0,-5", size=50), "pieces of the sparse file 'a' overlap"),
    "tar bomb": (lambda: make_tar(("m/a", bytes(10 * MIB))), "more than 8388608 bytes"),
    "tar bomb after the end": (lambda: make_tar() + gzip.compress(bytes(10 * MIB)), "more than 8388608 bytes"),
    "tar long name bomb": (long_name_bomb, "header is larger"),
    "tar negative size": (negative_size, "leads backwards|negative size|invalid offset"),
    "tar negative long name": (negative_long_name, "negative size|invalid offset"),
    "tar entries": (lambda: make_tar(*((f"m/f{n}", b"") for n in range(21))), "more than 20 entries"),
    "tar truncated": (lambda: make_tar(("m/a", random.Random(1).randbytes(5000)))[:-2000], "cut short"),
    "tar short member": (
        lambda: gzip.compress(gzip.decompress(make_tar(("m/a", b"x" * 5000)))[:2000]),
        "cut short",
    ),
    "tar bad gzip checksum": (flipped_gzip_checksum, "corrupt"),
    "tar broken header": (broken_second_header, "what follows its last entry"),
    "gzip of something else": (lambda: gzip.compress(b"hello" * 1000), "corrupt"),
    "junk": (lambda: b"not an archive at all" * 50, "no zip archive"),
    "empty file": (lambda: b"", "no zip archive"),
    "bad JSON": (lambda: make_zip(("MAR-INF/MANIFEST.json", b"{")), "is not JSON"),
    "no config": (lambda: make_zip(MANIFEST), "names the configFile 'c.yaml'"),
    "hostile YAML": (lambda: make_zip(MANIFEST, ("c.yaml", b"a: !!python/name:os.system\n")), "c.yaml: not usable"),
    "YAML alias bomb": (
        lambda: make_zip(
            MANIFEST,
            (
                "c.yaml",
                b"a0: &a0 x\n" + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b"*a%d," % (n - 1) * 9) for n in range(1, 9)),
            ),
        ),
        "aliases expanded",
    ),
    "large manifest": (lambda: make_zip(("MAR-INF/MANIFEST.json", random.Random(1).randbytes(MIB + 1))), "larger than"),
}


# What zipfile says of them since Python 3.14, before our own limit is reached.
@pytest.mark.filterwarnings("ignore:Overlapped entries")
@pytest.mark.parametrize(("build", "cause"), CASES.values(), ids=CASES.keys())
def test_a_hostile_archive_is_refused_and_leaves_nothing(
    build: Callable[[], bytes], cause: str, tmp_path: Path, tree: Tree
):
    path = tmp_path / "store" / "x.mar"
    work = tmp_path / "work"
    for folder in (path.parent, work, tmp_path / "work-evil"):
        folder.mkdir()
    path.write_bytes(build())
    before = tree(tmp_path)
    with pytest.raises(InvalidArchive, match=rf"^x\.mar: .*({cause})") as caught:
        open_archive(path, work, limits=SMALL)
    assert tree(tmp_path) == before
    assert not Path("/tmp/evil").exists()
    assert "\n" not in caught.value.message
    assert str(tmp_path) not in caught.value.message


def test_a_million_entries_cost_no_memory(tmp_path: Path):
    path = tmp_path / "x.mar"
    path.write_bytes(directory_of(1_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArchive, match="more than 100000 entries"):
            open_archive(path, tmp_path / "work")
        assert tracemalloc.get_traced_memory()[1] < 100 * MIB  # zipfile's own objects would take 600
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("build", [lambda: make_zip(("a", bytes(100))), lambda: make_tar(("m/a", bytes(100)))])
def test_a_full_disk_is_noticed_first(build: Callable[[], bytes], tmp_path: Path):
    path = tmp_path / "x.mar"
    path.write_bytes(build())
    with pytest.raises(InvalidArchive, match="no space left"):
        open_archive(path, tmp_path / "work", limits=Limits(free_bytes=1 << 60))
    assert list((tmp_path / "work").iterdir()) == []


def test_a_disk_that_fills_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    usage = shutil.disk_usage(tmp_path)
    answers = iter([usage, usage._replace(free=0)])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: next(answers))
    path = tmp_path / "x.tar.gz"
    path.write_bytes(make_tar(("m/a", bytes(40 * MIB))))
    with pytest.raises(InvalidArchive, match="no space left"):
        open_archive(path, tmp_path / "work", limits=Limits())
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize("build", [lambda: make_zip(("a", b"x")), lambda: make_tar(("m/a", b"x"))])
def test_a_disk_that_fails(build: Callable[[], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "x.mar"
    path.write_bytes(build())
    monkeypatch.setattr("torchserve.core.archive.unpack.os.fdopen", fail)
    with pytest.raises(InvalidArchive, match=r"^x\.mar: No space left on device$"):
        open_archive(path, tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []


def test_zip64_opens(tmp_path: Path):
    path = tmp_path / "x.mar"
    path.write_bytes(as_zip64(make_zip(("a", b"x"), ("b", b"y"))))
    assert (open_archive(path, tmp_path / "work").model_dir / "b").read_bytes() == b"y"


def test_what_cannot_be_deleted_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "x.mar"
    path.write_bytes(make_zip(("a", b"x")))
    archive = open_archive(path, tmp_path / "work")
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    archive.remove()
    assert f"Could not delete all of {archive.unpacked}" in caplog.text


@pytest.mark.parametrize("name", ["gone.mar", "fifo"])
def test_what_is_no_file(name: str, tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InvalidArchive, match=f"{name}: there is no such file"):
        open_archive(tmp_path / name, tmp_path / "work")


def test_an_interrupt_leaves_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "x.mar"
    path.write_bytes(make_zip(("a", b"x")))
    monkeypatch.setattr(zlib, "crc32", interrupt)
    monkeypatch.setattr(zipfile, "crc32", interrupt)
    with pytest.raises(KeyboardInterrupt):
        open_archive(path, tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []
