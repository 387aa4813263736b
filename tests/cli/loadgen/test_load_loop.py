"""The two loops against a real server that is slow, wrong, resets, refuses, streams, or is gone."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace

import pytest

from torchserve.cli.loadgen import checks
from torchserve.cli.loadgen.closed_loop import ClosedLoop
from torchserve.cli.loadgen.open_loop import OpenLoop
from torchserve.cli.loadgen.payload import Payload
from torchserve.cli.loadgen.scenario import Closed, Open, Scenario
from torchserve.cli.loadgen.tally import Tally
from torchserve.core.config.address import Address

from .faulty import HANG_UP, Script, echo, faulty, reply

BODIES = tuple(Payload(f"p{i}", b"body %d" % i) for i in range(5))
REQUESTS = 40


def a_scenario(address: Address, load: Closed | Open) -> Scenario:
    return Scenario(address, "/predictions/m", BODIES, load, requests=REQUESTS, check=checks.echo, timeout=20.0)


async def play(scenario: Scenario, requests: float = REQUESTS, seconds: float = math.inf) -> Tally:
    """The scenario in this process, without a warm-up."""
    client = (ClosedLoop if isinstance(scenario.load, Closed) else OpenLoop)(scenario, 0, 1)
    await client.prepare()
    begin = time.monotonic()
    try:
        # A warm-up has a schedule of its own, of which nothing is due before the end, however late this process is.
        client.start(begin + 3600.0 if isinstance(scenario.load, Open) else begin)
        client.measure(begin, begin + seconds, requests)
        while not client.over(now := time.monotonic()) or now < begin:
            client.tick(now)
            await asyncio.sleep(0.005)
    finally:
        client.close()
    return client.recorder.tally


class Early(asyncio.SelectorEventLoop):
    """Its timers ring a moment early, as those do that count in milliseconds."""

    def call_later(self, delay, callback, *args, context=None):
        return super().call_later(max(delay - 0.02, 0.0), callback, *args, context=context)


def test_what_is_sent_a_moment_early_counts_too() -> None:
    async def run() -> None:
        async with faulty() as server:
            scenario = a_scenario(server.address, Closed(4))
            client = ClosedLoop(scenario, 0, 1)
            await client.prepare()
            begin = time.monotonic() + 0.05
            client.start(begin)
            client.measure(begin, math.inf, REQUESTS)
            while not client.over(time.monotonic()):
                await asyncio.sleep(0.03)
            client.close()
            assert client.recorder.tally.counts == {"right": len(server.asked)} == {"right": REQUESTS}

    with asyncio.Runner(loop_factory=Early) as runner:
        runner.run(run())


LOOPS = [Closed(1), Closed(4), Open(2000.0, connections=64), Open(2000.0, "bursty", connections=2)]


@pytest.mark.parametrize("load", LOOPS, ids=str)
async def test_every_request_is_answered_and_counted_once(load: Closed | Open) -> None:
    async with faulty() as server:
        tally = await play(a_scenario(server.address, load))
    assert tally.counts == {"right": REQUESTS}
    assert tally.offered == tally.latency.count == tally.ended == len(server.asked) == REQUESTS
    assert tally.statuses == {200: REQUESTS}
    assert {body: server.asked.count(body) for body in server.asked} == {payload.body: 8 for payload in BODIES}
    assert tally.late.count == REQUESTS
    assert tally.sent_bytes == tally.received_bytes == sum(map(len, server.asked))


def some(fault: bytes | list[bytes] | None) -> Script:
    """Every fifth request meets the fault."""
    return lambda number, body: fault if number % 5 == 4 else echo(number, body)


@pytest.mark.parametrize("load", LOOPS, ids=str)
@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (reply(b"other"), "wrong answer", "b'other'"),
        (reply(b"", "200 OK"), "wrong answer", "b''"),
        (reply(b"no", "500 Internal Server Error"), "bad status", "500 b'no'"),
        (reply(b"busy", "503 Service Unavailable"), "refused", "503 b'busy'"),
        (reply(b"busy", "429 Too Many Requests"), "refused", "429 b'busy'"),
        (HANG_UP, "connection lost", "closed before the answer's end"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhalf", "connection lost", "closed before"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "connection lost", "no status line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nfour", "connection lost", "4 bytes of body where 2"),
    ],
)
async def test_a_fault_is_counted_and_the_load_goes_on(load: Closed | Open, fault: bytes, kind: str, text: str) -> None:
    async with faulty(some(fault)) as server:
        tally = await play(a_scenario(server.address, load))
    assert tally.counts == {"right": REQUESTS * 4 // 5, kind: REQUESTS // 5}
    assert tally.offered == REQUESTS
    assert any(kind in said and text in said for said in tally.texts), tally.texts
    assert tally.refusal.count == (REQUESTS // 5 if kind == "refused" else 0)
    assert tally.faults == (0 if kind == "refused" else REQUESTS // 5)


@pytest.mark.parametrize(
    ("headers", "kind"), [({}, "bad status"), ({"X-Request-Timeout-Ms": "50"}, "refused")], ids=["", "told"]
)
async def test_a_504_is_a_refusal_of_those_who_told_their_time(headers: dict[str, str], kind: str) -> None:
    async with faulty(some(reply(b"late", "504 Gateway Timeout"))) as server:
        tally = await play(replace(a_scenario(server.address, Open(2000.0)), headers=headers))
    assert tally.counts == {"right": REQUESTS * 4 // 5, kind: REQUESTS // 5}


@pytest.mark.parametrize("load", [Closed(2), Open(2000.0)], ids=str)
async def test_an_answer_that_does_not_come_is_given_up(load: Closed | Open) -> None:
    async with faulty(some(None)) as server:
        tally = await play(replace(a_scenario(server.address, load), timeout=0.2))
    assert tally.counts["no answer in time"] >= REQUESTS // 5
    assert sum(tally.counts.values()) == tally.offered == REQUESTS


@pytest.mark.parametrize("load", LOOPS, ids=str)
async def test_a_server_that_closes_after_each_answer_is_no_fault(load: Closed | Open) -> None:
    def closing(_number: int, body: bytes) -> bytes:
        return reply(body, head="Connection: close\r\n")

    async with faulty(closing) as server:
        tally = await play(a_scenario(server.address, load))
    assert tally.counts == {"right": REQUESTS}
    assert server.connections >= REQUESTS


async def test_a_streamed_answer_is_put_together_and_its_chunks_are_timed() -> None:
    def streamed(_number: int, body: bytes) -> list[bytes]:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        return [head, b"2\r\n%s\r\n" % body[:2], b"%x\r\n%s\r\n" % (len(body) - 2, body[2:]), b"0\r\n\r\n"]

    async with faulty(streamed) as server:
        tally = await play(a_scenario(server.address, Closed(2)))
    assert tally.counts == {"right": REQUESTS}
    assert tally.first.count == REQUESTS
    assert tally.first.longest <= tally.latency.longest
    assert tally.gap.count <= REQUESTS


async def test_an_open_loop_waits_where_connections_are_limited_and_says_so() -> None:
    async with faulty() as server:
        tally = await play(a_scenario(server.address, Open(1e6, connections=1)))
    assert server.connections == 1
    assert tally.waited > 0
    assert tally.counts == {"right": REQUESTS}


async def test_an_open_loop_counts_from_when_a_request_was_due() -> None:
    answers = asyncio.Event()
    held: list[asyncio.StreamWriter] = []

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        held.append(writer)
        await answers.wait()
        writer.write(reply(b"body 0", head="Connection: close\r\n"))
        writer.close()

    listening = await asyncio.start_server(hold, "127.0.0.1", 0)
    address = Address("127.0.0.1", listening.sockets[0].getsockname()[1])
    scenario = replace(a_scenario(address, Open(1e6, connections=1)), payloads=BODIES[:1])
    running = asyncio.ensure_future(play(scenario, requests=2))
    while not held:
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)  # both were due long ago, and only one has been sent
    answers.set()
    tally = await running
    listening.close()
    assert tally.latency.count == 2
    least = tally.latency.quantile(0.5)
    assert least is not None
    assert least >= 0.09  # what the server held back is in both


@pytest.mark.parametrize("load", [Closed(2), Open(2000.0)], ids=str)
async def test_a_server_that_is_not_there_is_an_error_before_the_start(load: Closed | Open) -> None:
    with pytest.raises(OSError, match="111"):
        await play(a_scenario(Address("127.0.0.1", 1), load))


@pytest.mark.parametrize("load", [Closed(2), Open(2000.0, connections=4)], ids=str)
async def test_a_server_that_goes_away_is_counted(load: Closed | Open) -> None:
    """With few connections, or all requests might have one before it goes."""

    async with faulty() as server:

        def gone(number: int, body: bytes) -> bytes:
            if number >= 9:
                listening.close()
                return HANG_UP
            return echo(number, body)

        server.script = gone
        listening = await asyncio.start_server(server.talk, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        tally = await play(a_scenario(Address("127.0.0.1", port), load))
    assert tally.counts["right"] >= 9
    assert tally.counts["no connection"] > 0
    assert "no answer in time" not in tally.counts, "nobody waits for a connection that can't be had"
    assert sum(tally.counts.values()) == tally.offered == REQUESTS


@pytest.mark.parametrize("load", [Closed(3), Open(300.0)], ids=str)
async def test_the_clock_ends_a_run_and_what_is_under_way_is_awaited(load: Closed | Open) -> None:
    async with faulty() as server:
        tally = await play(a_scenario(server.address, load), requests=math.inf, seconds=0.2)
    assert tally.right == tally.offered == len(server.asked) > 0
    assert tally.ended <= tally.offered


async def test_a_seed_gives_the_same_requests(tmp_path: object) -> None:
    async def asked(seed: int) -> list[bytes]:
        async with faulty() as server:
            await play(replace(a_scenario(server.address, Closed(1)), seed=seed))
        return server.asked

    assert await asked(3) == await asked(3) != await asked(4)


async def test_what_a_request_looks_like() -> None:
    async with faulty() as server:
        scenario = a_scenario(server.address, Closed(1))
        await play(replace(scenario, headers={"Authorization": "Bearer k"}), requests=1)
    head = server.heads[0].decode().split("\r\n")
    assert head[0] == "POST /predictions/m HTTP/1.1"
    assert set(head[1:]) - {""} == {
        f"Host: 127.0.0.1:{server.address.port}", "Content-Type: application/octet-stream", "Content-Length: 6",
        "Authorization: Bearer k",
    }  # fmt: skip
