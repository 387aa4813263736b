"""Whatever an archive holds: it is opened inside its own directory, or refused, and then everything is as before."""

from __future__ import annotations

import contextlib
import gzip
import io
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from torchserve.core.archive.limits import Limits
from torchserve.core.archive.reader import open_archive
from torchserve.core.errors import InvalidArchive

Tree = Callable[[Path], dict[str, str]]
SMALL = Limits(total_bytes=8 << 20, entries=20)

SEGMENTS = st.sampled_from(["..", ".", "", "a", "b", "work2", "C:", "\\", "MAR-INF", "é", "\x7f", "\u2028", "\u202e"])
NAMES = st.one_of(
    st.lists(SEGMENTS, min_size=1, max_size=5).map("/".join),
    st.text(max_size=20),
    st.just("MAR-INF/MANIFEST.json"),
)
MODES = st.sampled_from([0, 0o100644, 0o040755, 0o120777, 0o020666, 0o010666, 0o177777])
KINDS = st.sampled_from([b"0", b"\0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"L", b"K", b"x", b"g", b"S", b"V"])
ENTRIES = st.lists(st.tuples(NAMES, MODES, KINDS, st.binary(max_size=60)), max_size=6)
FLIPS = st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 255)), max_size=3)


def build_zip(entries: list[tuple[str, int, bytes, bytes]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, mode, kind, content in entries:
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = name.encode("utf-8", "replace").decode()
            info.external_attr = mode << 16
            info.compress_type = kind[0] % 2 * zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
            archive.NameToInfo.clear()  # where zipfile would see duplicates
    return out.getvalue()


def build_tar(entries: list[tuple[str, int, bytes, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, mode, kind, content in entries:
            info = tarfile.TarInfo(name.encode("utf-8", "replace").decode())
            info.type, info.mode, info.size, info.linkname = (
                kind,
                mode,
                len(content),
                ("../outside", "a", "b/a")[mode % 3],
            )
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def flip(data: bytes, flips: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for offset, bits in flips:
        if changed:
            changed[offset % len(changed)] ^= bits
    return bytes(changed)


@given(entries=ENTRIES, flips=FLIPS, is_tar=st.booleans())
def test_nothing_is_ever_written_outside(
    entries: list[tuple[str, int, bytes, bytes]], flips: list[tuple[int, int]], is_tar: bool, tree: Tree
):
    data = gzip.compress(flip(build_tar(entries), flips), 0) if is_tar else flip(build_zip(entries), flips)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "work").mkdir()
        (root / "outside").write_text("untouched")
        (root / "x.mar").write_bytes(data)
        before = tree(root)
        try:
            archive = open_archive(root / "x.mar", root / "work", limits=SMALL)
        except InvalidArchive as error:
            assert error.message.startswith("x.mar: ")
        else:
            assert archive.unpacked is not None
            assert archive.unpacked.parent == (root / "work").resolve()
            for path in archive.unpacked.rglob("*"):
                assert stat.S_IFMT(path.lstat().st_mode) in (stat.S_IFREG, stat.S_IFDIR)
                names = [each for each in archive.unpacked.rglob("*") if each.samefile(path)]
                assert path.lstat().st_nlink == len(names) or path.is_dir()
            outside = {name for name in tree(root) if not name.startswith("work/")}
            assert outside == {"work", "outside", "x.mar"}
            archive.remove()
        assert tree(root) == before


@settings(max_examples=60)
@given(
    data=st.binary(max_size=300), head=st.sampled_from([b"", b"PK\3\4", b"PK\5\6", b"\x1f\x8b\x08\0"]), gz=st.booleans()
)
def test_any_bytes_are_opened_or_refused(data: bytes, head: bytes, gz: bool):
    content = gzip.compress(head + data) if gz else head + data
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x.mar").write_bytes(content)
        work = Path(folder) / "work"
        with contextlib.suppress(InvalidArchive):
            open_archive(Path(folder) / "x.mar", work, limits=SMALL).remove()
        assert list(work.iterdir()) == []
