"""Regions of shared memory: who may have which, that their bounds hold at any time, and that no descriptor is left."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.errors import (
    BadRequest,
    NotFound,
    Overloaded,
    RegionExists,
    ServeError,
    SharedMemoryDenied,
)
from torchserve.core.oip.regions import LONGEST_KEY, MOST_BYTES, MOST_REGIONS, Region, Regions

from ...descriptors import open_paths

ME = os.getuid()
OTHER = ME + 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in place of /dev/shm, with `region`, a file of 64 bytes."""
    (tmp_path / "region").write_bytes(bytes(range(64)))
    return tmp_path


@pytest.fixture
def regions(folder: Path) -> Iterator[Regions]:
    made = Regions(folder)
    yield made
    made.close()
    assert open_paths(str(folder)) == []


def opened(regions: Regions, offset: int = 0, size: int = 64) -> Region:
    regions.register(ME, "r", "/region", offset, size)
    return regions.get(ME, "Input 'x'", "r")


def read(region: Region, offset: int, size: int) -> bytes:
    buffer = bytearray(size)
    region.read("Input 'x'", memoryview(buffer), offset)
    return bytes(buffer)


def test_a_region_is_read_written_shown_and_forgotten(regions: Regions, folder: Path) -> None:
    region = opened(regions, 8, 16)
    assert read(region, 4, 4) == bytes([12, 13, 14, 15])
    region.write("Output 'y'", memoryview(b"abc"), 1)
    assert (folder / "region").read_bytes()[8:13] == bytes([8]) + b"abc" + bytes([12])
    (shown,) = regions.status(ME, "r")
    assert regions.status(ME) == [shown]
    assert (shown.name, shown.key, shown.offset, shown.byte_size) == ("r", "/region", 8, 16)
    regions.unregister(ME, "r")
    regions.unregister(ME, "r")  # as in Triton, what is not there is no error
    assert regions.status(ME) == []
    with pytest.raises(NotFound, match="No shared memory region 'r'"):
        regions.status(ME, "r")
    with pytest.raises(BadRequest, match="Input 'x': no shared memory region 'r' is registered"):
        regions.get(ME, "Input 'x'", "r")


def test_keys_may_begin_with_a_slash_or_not(regions: Regions) -> None:
    regions.register(ME, "with", "/region", 0, 1)
    regions.register(ME, "without", "region", 0, 1)
    assert [each.key for each in regions.status(ME)] == ["/region", "region"]


def link(folder: Path) -> None:
    (folder / "odd").symlink_to(folder / "region")


def listening(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(folder / "odd"))


KINDS: dict[str, Callable[[Path], object]] = {
    "a symbolic link": link,
    "a FIFO": lambda folder: os.mkfifo(folder / "odd"),
    "a folder": lambda folder: (folder / "odd").mkdir(),
    "a device or socket": listening,
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_plain_file_is_refused_unopened(regions: Regions, folder: Path, kind: str) -> None:
    KINDS[kind](folder)
    with pytest.raises(BadRequest, match=f"'odd' is {kind}, and no shared memory"):
        regions.register(ME, "r", "odd", 0, 1)


@pytest.mark.parametrize(
    "key",
    [
        "../secret",
        "/../secret",
        "a/b",
        "//a",
        "/a/",
        ".",
        "..",
        "/..",
        "a\0b",
        "\ud800",
        "",
        "/",
        "x" * (LONGEST_KEY + 1),
    ],
)
def test_a_key_is_a_name_without_a_path(regions: Regions, folder: Path, key: str) -> None:
    (folder.parent / "secret").write_bytes(b"secret")
    with pytest.raises(BadRequest, match=r"is no name of POSIX shared memory|bytes behind its first slash; 1 to 255"):
        regions.register(ME, "r", key, 0, 1)


def test_the_longest_key_is_taken(regions: Regions, folder: Path) -> None:
    (folder / ("x" * LONGEST_KEY)).write_bytes(b"1")
    regions.register(ME, "r", "/" + "x" * LONGEST_KEY, 0, 1)


def test_a_file_of_another_user_is_refused_and_regions_are_their_user_s(regions: Regions) -> None:
    with pytest.raises(
        SharedMemoryDenied, match=rf"belongs to user {ME}, and this client is a process of user {OTHER}"
    ):
        regions.register(OTHER, "r", "/region", 0, 1)
    region = opened(regions)
    assert regions.status(OTHER) == []
    for refused in (lambda: regions.status(OTHER, "r"), lambda: regions.get(OTHER, "Input 'x'", "r")):
        with pytest.raises((NotFound, BadRequest), match="'r' is registered"):
            refused()
    regions.unregister(OTHER, "r")
    regions.unregister(OTHER)
    assert regions.get(ME, "", "r") is region


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_a_file_that_the_server_may_not_write_is_refused(regions: Regions, folder: Path) -> None:
    (folder / "region").chmod(0o400)
    with pytest.raises(SharedMemoryDenied, match=r"may not read and write '/region'\. Give it the permission"):
        regions.register(ME, "r", "/region", 0, 1)


BAD: list[tuple[str, str, int, int, type[ServeError], str]] = [
    ("r", "/nothing", 0, 1, NotFound, "there is no shared memory '/nothing'"),
    ("r", "/region", 0, 65, BadRequest, "offset 0 and byte_size 65 end at 65, and '/region' has 64 bytes"),
    ("r", "/region", 64, 1, BadRequest, "offset 64 and byte_size 1 end at 65"),
    ("r", "/region", 2**63 - 1, 2**63 - 1, BadRequest, f"end at {2**64 - 2}, and '/region' has 64"),
    ("r", "/region", -1, 1, BadRequest, "offset must be a number of bytes, 0 to"),
    ("r", "/region", 2**63, 1, BadRequest, f"offset must be a number of bytes, 0 to {MOST_BYTES}, not {2**63}"),
    ("r", "/region", 0, 0, BadRequest, "byte_size must be a number of bytes, 1 to"),
    ("r", "/region", 0, -1, BadRequest, "byte_size must be a number of bytes"),
    ("r", "/region", 0, 10**400, BadRequest, "byte_size must be a number of bytes"),
    ("", "/region", 0, 1, BadRequest, "has 1 to 256 characters, and this one has 0"),
    ("n" * 257, "/region", 0, 1, BadRequest, "has 1 to 256 characters, and this one has 257"),
]


@pytest.mark.parametrize(("name", "key", "offset", "size", "kind", "told"), BAD)
def test_what_can_t_be_registered_is_told(
    regions: Regions, name: str, key: str, offset: int, size: int, kind: type[ServeError], told: str
) -> None:
    with pytest.raises(kind, match=told):
        regions.register(ME, name, key, offset, size)
    assert regions.status(ME) == []


def test_a_name_that_is_taken_is_refused(regions: Regions) -> None:
    opened(regions)
    with pytest.raises(RegionExists, match=r"'r' is registered already, for '/region': unregister it first"):
        regions.register(ME, "r", "/other", 0, 1)


def test_ten_thousand_registrations_end_at_the_limits(folder: Path) -> None:
    regions = Regions(folder, most=8, most_of_user=5)
    taken = 0
    for n in range(10_000):
        try:
            regions.register(ME, f"r{n}", "/region", 0, 1)
            taken += 1
        except Overloaded as error:
            told = error.message
    assert (taken, told) == (
        5,
        "5 shared memory regions are registered, and a user may have at most 5: unregister some, or register one large"
        " region and use parts of it.",
    )
    assert open_paths(str(folder)) == [str(folder / "region")] * 5
    regions.close()
    assert open_paths(str(folder)) == []


def test_all_users_together_have_a_limit(folder: Path) -> None:
    regions = Regions(folder, most=2, most_of_user=2)
    regions.register(ME, "a", "/region", 0, 1)
    regions.register(ME, "b", "/region", 0, 1)
    with pytest.raises(Overloaded, match="The server has 2 shared memory regions, and takes no more"):
        regions.register(OTHER, "a", "/region", 0, 1)
    regions.close()


def test_the_limit_leaves_descriptors_to_others(folder: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        regions = Regions(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for n in range(128):
        regions.register(ME, f"r{n}", "/region", 0, 1)
    with pytest.raises(Overloaded, match="at most 128"):
        regions.register(ME, "r", "/region", 0, 1)
    regions.close()
    assert MOST_REGIONS == 512


def test_a_shortened_file_is_told_of_and_kills_nobody(regions: Regions, folder: Path) -> None:
    region = opened(regions)
    os.truncate(folder / "region", 10)
    told = "shared memory region 'r' has lost its end: 16 bytes of '/region' are needed, and it has 10 by now"
    for use in (
        lambda: region.check("Input 'x'", 8, 8),
        lambda: read(region, 8, 8),
        lambda: region.write("Output 'y'", memoryview(b"12345678"), 8),
    ):
        with pytest.raises(BadRequest, match=told):
            use()
    assert (folder / "region").stat().st_size == 10
    assert read(region, 2, 8) == bytes(range(2, 10))


def test_a_file_that_is_removed_stays_what_was_registered(regions: Regions, folder: Path) -> None:
    region = opened(regions)
    (folder / "region").unlink()
    (folder / "region").write_bytes(b"another file of the same name" * 4)
    assert read(region, 0, 4) == bytes([0, 1, 2, 3])


def test_a_region_that_is_in_use_is_closed_behind_its_last_use(regions: Regions, folder: Path) -> None:
    region = opened(regions)
    region.used()
    region.used()
    regions.unregister(ME, "r")
    assert read(region, 0, 1) == b"\0"
    region.unused()
    assert open_paths(str(folder)) == [str(folder / "region")]
    region.unused()
    assert open_paths(str(folder)) == []
    with pytest.raises(BadRequest, match="can't be read: Bad file descriptor"):
        read(region, 0, 1)


@given(
    begin=st.integers(0, 70), size=st.integers(1, 70), offset=st.integers(0, 80), wanted=st.integers(0, 80),
    left=st.integers(0, 64),
)  # fmt: skip
def test_bounds_hold_whatever_is_asked_and_however_short_the_file_becomes(
    tmp_path_factory: pytest.TempPathFactory, begin: int, size: int, offset: int, wanted: int, left: int
) -> None:
    folder = tmp_path_factory.mktemp("shm")
    data = bytes(range(64))
    (folder / "region").write_bytes(data)
    regions = Regions(folder)
    try:
        regions.register(ME, "r", "region", begin, size)
        assert begin + size <= 64
        region = regions.get(ME, "Input 'x'", "r")
        os.truncate(folder / "region", left)
        region.check("Input 'x'", offset, wanted)
        assert offset + wanted <= size
        assert begin + offset + wanted <= left
        assert read(region, offset, wanted) == data[begin + offset : begin + offset + wanted]
    except BadRequest:
        assert begin + size > 64 or offset + wanted > size or begin + offset + wanted > left
    finally:
        regions.close()
