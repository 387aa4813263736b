"""The two loops by gRPC, against a real server that is wrong, resets, refuses, streams, leaves, or is gone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from torchserve.cli.loadgen import checks
from torchserve.cli.loadgen.payload import Payload
from torchserve.cli.loadgen.scenario import Closed, Open, Scenario
from torchserve.core.config.address import Address

from .rpc_server import HANG_UP, LEAVE, RpcServer, Says, Script, echo, rpc_server
from .test_load_loop import REQUESTS, play

BODIES = tuple(Payload(f"p{i}", b"body %d" % i) for i in range(5))
LOOPS = [Closed(1), Closed(4), Open(2000.0, connections=64), Open(2000.0, "bursty", connections=2)]


def a_scenario(server: RpcServer, load: Closed | Open, channels: int = 1) -> Scenario:
    return Scenario(
        server.address, "/a.B/C", BODIES, load, requests=REQUESTS, check=checks.echo, timeout=20.0, rpc=True,
        channels=channels,
    )  # fmt: skip


@pytest.mark.parametrize("load", LOOPS, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
async def test_every_call_is_answered_and_counted_once(load: Closed | Open, channels: int) -> None:
    async with rpc_server() as server:
        tally = await play(a_scenario(server, load, channels))
    assert tally.counts == {"right": REQUESTS}
    assert tally.offered == tally.latency.count == len(server.asked) == REQUESTS
    assert tally.statuses == {0: REQUESTS}
    assert {body: server.asked.count(body) for body in server.asked} == {payload.body: 8 for payload in BODIES}
    assert tally.first.count == 0, "an answer of one message has no chunks"
    assert server.connections <= channels


async def test_calls_share_the_channels_evenly() -> None:
    async with rpc_server() as server:
        await play(a_scenario(server, Closed(8), 4))
    assert server.connections == 4


def some(fault: Says | None) -> Script:
    """Every fifth call meets the fault."""
    return lambda number, message: fault if number % 5 == 4 else echo(number, message)


@pytest.mark.parametrize("load", LOOPS, ids=str)
@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (Says((b"other",)), "wrong answer", "b'other'"),
        (Says(status="5", text="Model%20not found"), "bad status", "5 NOT_FOUND: Model not found"),
        (Says((b"half",), status="13"), "bad status", "13 INTERNAL"),
        (Says(status="14"), "bad status", "14 UNAVAILABLE"),
        (Says(status="8", text="full"), "refused", "8 RESOURCE_EXHAUSTED: full"),
        (Says(), "connection lost", "the answer has 0 messages"),
        (Says((b"a", b"b")), "connection lost", "the answer has 2 messages"),
        (Says((b"body 4",), status=None), "connection lost", "no trailers"),
        (Says(status="0", http="503"), "connection lost", "no answer of gRPC: status 503"),
        (Says(reset=2), "connection lost", "INTERNAL_ERROR"),
    ],
)
async def test_a_fault_is_counted_and_the_load_goes_on(load: Closed | Open, fault: Says, kind: str, text: str) -> None:
    async with rpc_server(some(fault)) as server:
        tally = await play(a_scenario(server, load))
    assert tally.counts == {"right": REQUESTS * 4 // 5, kind: REQUESTS // 5}
    assert any(kind in said and text in said for said in tally.texts), tally.texts
    assert tally.faults == (0 if kind == "refused" else REQUESTS // 5)
    assert server.connections == 1, "what fails one call leaves its connection to the others"


@pytest.mark.parametrize("fault", [HANG_UP, Says(raw=b"HTTP/1.1 400 Bad Request\r\n\r\n")], ids=["closed", "no HTTP/2"])
async def test_a_lost_connection_fails_what_is_under_way_and_the_load_goes_on(fault: Says) -> None:
    async with rpc_server(some(fault)) as server:
        tally = await play(a_scenario(server, Closed(1)))
    assert tally.counts == {"right": REQUESTS * 4 // 5, "connection lost": REQUESTS // 5}
    assert server.connections == REQUESTS // 5


async def test_a_connection_that_the_server_ends_behind_an_answer_is_no_fault() -> None:
    async with rpc_server(some(LEAVE)) as server:
        tally = await play(a_scenario(server, Closed(1)))
    assert tally.counts == {"right": REQUESTS}
    assert server.connections == REQUESTS // 5


@pytest.mark.parametrize("load", [Closed(2), Open(2000.0)], ids=str)
async def test_an_answer_that_does_not_come_is_given_up(load: Closed | Open) -> None:
    async with rpc_server(some(None)) as server:
        tally = await play(replace(a_scenario(server, load), timeout=0.2))
    assert tally.counts["no answer in time"] >= REQUESTS // 5
    assert sum(tally.counts.values()) == tally.offered == REQUESTS


@pytest.mark.parametrize(("headers", "kind"), [({}, "bad status"), ({"grpc-timeout": "50m"}, "refused")], ids=str)
async def test_a_deadline_is_a_refusal_of_those_who_told_it(headers: dict[str, str], kind: str) -> None:
    async with rpc_server(some(Says(status="4"))) as server:
        tally = await play(replace(a_scenario(server, Closed(2)), headers=headers))
    assert tally.counts == {"right": REQUESTS * 4 // 5, kind: REQUESTS // 5}


async def test_a_streamed_answer_is_put_together_and_its_messages_are_timed() -> None:
    def streamed(_number: int, message: bytes) -> Says:
        return Says((message[:2], message[2:4], message[4:]))

    async with rpc_server(streamed) as server:
        tally = await play(replace(a_scenario(server, Closed(2)), streams=True))
    assert tally.counts == {"right": REQUESTS}
    assert tally.first.count == REQUESTS


async def test_large_messages_keep_to_the_servers_windows() -> None:
    payloads = (Payload("large", bytes(300_000)),)
    async with rpc_server(lambda _, message: Says((b"%d" % len(message),))) as server:
        scenario = replace(a_scenario(server, Closed(4)), payloads=payloads, check=checks.Expected([b"300000"]))
        tally = await play(scenario)
    assert tally.counts == {"right": REQUESTS}
    assert tally.sent_bytes == REQUESTS * 300_000


async def test_what_a_call_looks_like() -> None:
    async with rpc_server() as server:
        await play(replace(a_scenario(server, Closed(1)), headers={"Authorization": "Bearer k"}), requests=1)
    assert server.heads[0] == {
        ":method": "POST", ":scheme": "http", ":path": "/a.B/C", ":authority": f"127.0.0.1:{server.address.port}",
        "te": "trailers", "content-type": "application/grpc", "user-agent": "torchserve", "authorization": "Bearer k",
    }  # fmt: skip


async def test_a_server_that_is_not_there_is_an_error_before_the_start() -> None:
    server = RpcServer(echo)
    server.address = Address("127.0.0.1", 1)
    with pytest.raises(OSError, match="111"):
        await play(a_scenario(server, Closed(2)))
