"""Who looks at the dashboard's live state: how many, for how long, what each gets, and what it costs when nobody looks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import aiohttp
import httpx
import pytest

from torchserve.core.config.address import Address
from torchserve.core.errors import InvalidKey, Overloaded
from torchserve.core.logs.line import Line
from torchserve.core.logs.tail import LogTail
from torchserve.core.overview import Overview
from torchserve.http.board import Board
from torchserve.http.message.limits import Limits
from torchserve.http.message.live import Outlet
from torchserve.http.message.request import Head

from .doubles import SOON, FakeOverview, RunningFront, connect, running_front, until
from .test_auth import front_with_keys

OFTEN = Limits(view_interval=0.01)
ASKS = b"GET /dashboard/events HTTP/1.1\r\nHost: x\r\n\r\n"


class Events:
    """The events of a live answer, one by one."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    async def next(self, wanted: str = "") -> tuple[str, Any]:
        """The next event, or the next of a kind. Raises StopAsyncIteration where the answer ends."""
        async with asyncio.timeout(SOON):
            while True:
                while b"\n\n" not in self._rest:
                    self._rest += await anext(self._pieces)
                text, _, self._rest = self._rest.partition(b"\n\n")
                kind, data = text.decode().split("\n")
                if not wanted or kind == f"event: {wanted}":
                    return kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@asynccontextmanager
async def looking(url: str, key: str = "", *, http2: bool = False) -> AsyncIterator[Events]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(http1=not http2, http2=http2, timeout=SOON) as client:
        async with client.stream("GET", url, headers=headers) as response:
            assert response.status_code == 200, await response.aread()
            assert response.headers["content-type"] == "text/event-stream"
            assert response.headers["x-content-type-options"] == "nosniff"
            yield Events(response.aiter_bytes())


def url(h: RunningFront) -> str:
    return h.url("/dashboard/events", "management")


@pytest.mark.parametrize("http2", [False, True])
async def test_a_viewer_gets_the_whole_state_and_then_what_changes_until_it_leaves(http2: bool) -> None:
    overview = FakeOverview()
    async with running_front(OFTEN, overview=overview) as h:
        async with looking(url(h), http2=http2) as events:
            kind, hello = await events.next()
            assert (kind, hello["register"], hello["keys"]) == ("hello", True, False)
            kind, first = await events.next()
            assert (kind, first["whole"]) == ("state", True)
            numbers = [(await events.next())[1]["look"] for _ in range(3)]
            assert numbers == [first["look"] + 1, first["look"] + 2, first["look"] + 3]
        await until(lambda: overview.forgotten and h.log)
        looks = overview.looks
        async with aiohttp.ClientSession() as client, client.get(h.url("/ping")) as response:
            assert response.status == 200
        assert overview.looks == looks  # nobody looks: nothing is looked up
    assert [each.status for each in h.log if "events" in each.target] == [499]


async def test_what_viewers_get_is_looked_up_once_for_all_of_them() -> None:
    overview = FakeOverview()
    async with running_front(OFTEN, overview=overview) as h, looking(url(h)) as one, looking(url(h)) as other:
        _, first = await other.next("state")
        seen = [(await one.next("state"))[1]["look"]]
        while seen[-1] < first["look"] + 5:
            seen.append((await one.next("state"))[1]["look"])
        assert seen == list(range(seen[0], seen[0] + len(seen)))  # every look was for the first viewer, too


async def test_more_viewers_than_are_let_in_are_refused_by_a_reason_until_one_leaves() -> None:
    async with running_front(Limits(view_interval=0.01, viewers=2), overview=FakeOverview()) as h:
        async with looking(url(h)), aiohttp.ClientSession() as client:
            async with looking(url(h)):
                async with client.get(url(h)) as response:
                    assert response.status == 503
                    assert response.headers["Retry-After"]
                    assert "2 dashboards are open" in (await response.json())["message"]
            board = h.front._context.board
            assert board is not None
            await until(lambda: board.viewers == 1)
            async with looking(url(h)) as events:
                await events.next("state")


async def test_a_viewer_that_never_reads_is_dropped_and_the_others_go_on() -> None:
    overview = FakeOverview(fat=1_000_000)
    limits = Limits(view_interval=0.01, viewer_stall=0.1)
    async with running_front(limits, overview=overview) as h, connect(h.port("management"), limit=1) as (_, writer):
        writer.write(ASKS)
        async with looking(url(h)) as events:
            await until(lambda: h.log)
            assert h.log[0].status == 499
            _, after = await events.next("state")
            assert (await events.next("state"))[1]["look"] == after["look"] + 1


async def test_a_drain_ends_the_answers_and_waits_for_no_viewer() -> None:
    async with running_front(OFTEN, overview=FakeOverview()) as h, looking(url(h)) as events:
        await events.next("state")
        assert await h.front.drain(SOON)
        with pytest.raises(StopAsyncIteration):
            await events.next("end")
        await until(lambda: h.log)
        assert h.log[0].status == 200


async def test_a_key_that_is_no_more_valid_is_told_to_its_viewer_and_ends_the_answer(tmp_path: Path) -> None:
    async with front_with_keys(tmp_path, overview=FakeOverview()) as d:
        for wrong in ("none", "wrong", "inference"):
            key = d.key(wrong)
            assert await d.ask("management", "GET", "/dashboard/events", key) == (400, "InvalidKeyException")
        async with looking(url(d.h), d.key("management") or "") as events:
            await events.next("state")
            await d.token_auth.renew("management")
            _, told = await events.next("denied")
            assert "Token" in told["message"]
            with pytest.raises(StopAsyncIteration):
                await events.next()


async def test_the_log_is_told_to_who_is_on_this_machine_or_has_a_key_and_not_to_the_network(tmp_path: Path) -> None:
    tail = LogTail()
    tail.add(Line(1.0, 20, "main", "x", "<script>alert(1)</script>\n\x1b[31m", "", "trace"))
    overview = FakeOverview(log=tail, settings=lambda: [{"key": "a", "value": "b", "origin": "c"}])
    async with running_front(OFTEN, overview=overview) as h, looking(url(h)) as events:
        (line,) = (await events.next("log"))[1]
        assert line["message"] == "<script>alert(1)</script>\n\\x1b[31m"
        assert line["trace"] == "trace"
        tail.add(Line(2.0, 30, "main", "x", "next"))
        assert [each["message"] for each in (await events.next("log"))[1]] == ["next"]
    everywhere = {api: Address("0.0.0.0", 0) for api in ("inference", "management")}
    async with running_front(OFTEN, overview=overview, listen=everywhere) as h, looking(url(h)) as events:
        assert (await events.next("hello"))[1]["log"] is False
        await events.next("state")
        assert (await events.next())[0] == "state"
        async with aiohttp.ClientSession() as client:
            async with client.get(h.url("/dashboard/settings", "management")) as response:
                assert response.status == 404


class Writer:
    """A connection whose client takes nothing while `behind`."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.behind = False
        self.draining = False
        self.dropped = False

    def begin(self, head: Head, reply: Any, request_id: str) -> None:
        raise AssertionError

    def piece(self, head: Head, body: Any) -> None:
        self.sent.append(bytes(body))

    def end(self, head: Head, body: Any) -> None:
        self.sent.append(b"end")

    def drop(self) -> None:
        self.dropped = True

    def outlet(self) -> Outlet:
        head = Head("GET", "/", ())
        return Outlet(self, head, behind=lambda: self.behind, drop=self.drop, draining=lambda: self.draining)


def made(overview: FakeOverview, **limits: Any) -> Board:
    return Board(cast(Overview, overview), Limits(**limits))


def no_check() -> None:
    pass


async def test_of_a_thousand_viewers_as_many_are_let_in_as_the_limit_says_at_the_cost_of_one() -> None:
    overview = FakeOverview()
    board = made(overview)
    writers, refused, live = [], 0, []
    for _ in range(1000):
        try:
            live.append(board.admit(no_check, log=True, note={}))
        except Overloaded:
            refused += 1
            continue
        writers.append(Writer())
        live[-1].join(writers[-1].outlet())
    assert (len(writers), refused, overview.looks) == (Limits().viewers, 1000 - Limits().viewers, 0)
    await board._look()
    assert overview.looks == 1
    assert {each.sent[0] for each in writers} == {writers[0].sent[0]}
    board.close()
    assert {each.sent[-1] for each in writers} == {b"end"}
    assert (board.viewers, overview.forgotten) == (0, 1)
    with pytest.raises(Overloaded):
        board.admit(no_check, log=True, note={})


async def test_a_viewer_that_was_behind_gets_the_whole_state_again_and_nothing_meanwhile() -> None:
    board, writer = made(FakeOverview()), Writer()
    live = board.admit(no_check, log=False, note={})
    live.join(writer.outlet())
    await board._look()
    writer.behind = True
    await board._look()
    await board._look()
    assert len(writer.sent) == 1
    writer.behind = False
    await board._look()
    await board._look()
    assert ["whole" in text.decode() for text in writer.sent] == [True, True, False]
    writer.draining = True
    await board._look()
    assert (writer.sent[-1], board.viewers) == (b"end", 0)


async def test_an_answer_ends_once_whoever_ends_it() -> None:
    board, writer = made(FakeOverview()), Writer()

    def expired() -> None:
        raise InvalidKey("Expired.")

    live = board.admit(expired, log=False, note={})
    outlet = writer.outlet()
    live.join(outlet)
    await board._look()
    await board._look()
    live.leave()
    outlet.end()
    assert [text.split(b"\n")[0] for text in writer.sent] == [b"event: denied", b"end"]


async def test_a_text_that_is_no_unicode_is_sent_all_the_same() -> None:
    board = made(FakeOverview())
    live = board.admit(no_check, log=False, note={"text": "\ud800"})
    assert b"\\ud800" in bytes(live.first.body)
    live.leave()


async def test_a_viewer_that_has_gone_before_its_answer_began_takes_no_place() -> None:
    board = made(FakeOverview(), viewers=1)
    board.admit(no_check, log=False, note={}).leave()
    assert board.viewers == 0
    board.admit(no_check, log=False, note={}).leave()


async def test_viewers_of_a_state_that_can_not_be_told_are_sent_away_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(FakeOverview):
        async def changes(self) -> dict[str, Any]:
            if self.looks:
                raise RuntimeError("broken")
            return await super().changes()

    async with running_front(OFTEN, overview=Broken()) as h, looking(url(h)) as events:
        with pytest.raises(StopAsyncIteration):
            await events.next("end")
        await until(lambda: h.log)
    assert "could not be told" in caplog.text
