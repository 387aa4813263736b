"""Downloads: one fetch for all who ask at the same time, and a file that lives as long as somebody uses it."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from torchserve.core.archive.downloads import Downloads
from torchserve.core.archive.limits import DownloadLimits
from torchserve.core.archive.store import Located
from torchserve.core.errors import ArchiveExists, DownloadFailed

from .web import Handler, Server


class Gate:
    """Lets the server answer when a test says so."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.opened = threading.Event()
        self.status = 200
        server.answer = self.answer

    def answer(self, handler: Handler) -> None:
        self.opened.wait(30)
        handler.send(self.status, b"archive")

    async def reached(self) -> None:
        async with asyncio.timeout(30):
            while not self.server.hits:
                await asyncio.sleep(0.001)


@pytest.fixture
def gate(server: Server) -> Gate:
    return Gate(server)


@pytest.fixture
def downloads(server: Server, store: Path) -> Downloads:
    return Downloads(store, server.allowed, DownloadLimits(pause=0.0))


async def test_one_url_asked_for_by_many_is_fetched_once(
    server: Server, gate: Gate, downloads: Downloads, store: Path
) -> None:
    asking = [asyncio.create_task(downloads.locate(server.url())) for _ in range(5)]
    await gate.reached()
    gate.opened.set()
    found = await asyncio.gather(*asking)
    path = store / "x.mar"
    assert set(found) == {Located(server.url(), path, "x.mar", downloaded=True)}
    assert server.hits == ["/x.mar"]
    for _ in range(4):
        await downloads.release(path)
        assert path.exists()
    await downloads.release(path)
    assert list(store.iterdir()) == []


async def test_who_comes_later_finds_it_taken(server: Server, gate: Gate, downloads: Downloads, store: Path) -> None:
    gate.opened.set()
    found = await downloads.locate(server.url())
    with pytest.raises(ArchiveExists, match=r"Model file already exists x.mar"):
        await downloads.locate(server.url())
    reused = await downloads.locate(server.url(), reuse=True)
    assert reused == Located(server.url(), store / "x.mar", "x.mar")
    assert server.hits == ["/x.mar"]
    await downloads.release(found.path)
    assert await downloads.locate(server.url()) == found


async def test_a_failure_is_everybodys(server: Server, gate: Gate, downloads: Downloads, store: Path) -> None:
    gate.status = 500
    asking = [asyncio.create_task(downloads.locate(server.url())) for _ in range(2)]
    await gate.reached()
    gate.opened.set()
    assert [type(each) for each in await asyncio.gather(*asking, return_exceptions=True)] == [DownloadFailed] * 2
    gate.status = 200
    assert (await downloads.locate(server.url())).downloaded


async def test_one_who_gives_up_does_not_stop_the_others(
    server: Server, gate: Gate, downloads: Downloads, store: Path
) -> None:
    first, second = (asyncio.create_task(downloads.locate(server.url())) for _ in range(2))
    await gate.reached()
    first.cancel()
    await asyncio.wait([first])
    gate.opened.set()
    found = await second
    await downloads.release(found.path)
    assert list(store.iterdir()) == []


async def test_a_file_nobody_waits_for_any_more_goes(
    server: Server, gate: Gate, downloads: Downloads, store: Path
) -> None:
    asking = asyncio.create_task(downloads.locate(server.url()))
    await gate.reached()
    asking.cancel()
    await asyncio.wait([asking])
    gate.opened.set()
    async with asyncio.timeout(30):
        while downloads._on_the_way or [*store.iterdir()]:
            await asyncio.sleep(0.001)


async def test_a_file_of_an_earlier_run_goes_with_its_last_user(downloads: Downloads, store: Path) -> None:
    path = store / "x.mar"
    path.write_bytes(b"archive")
    downloads.adopt(path)
    downloads.adopt(path)
    await downloads.release(path)
    assert path.exists()
    await downloads.release(path)
    assert not path.exists()
