"""WebSockets byte by byte: handshakes that are refused, frames that are none, and what a client may not make grow."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torchserve.core.payload import Reply
from torchserve.http.cors import Cors
from torchserve.http.message.limits import Limits
from torchserve.http.transport.websocket.frames import BINARY, CLOSE, PING, PONG, TEXT, close_frame, frame_head

from ..doubles import SOON, FakeDataPlane, RunningFront, answer, connect, head_and_body, running_front
from ..test_auth import front_with_keys

KEY = base64.b64encode(b"0123456789abcdef").decode()
MASK = b"\x37\xfa\x21\x3d"


def handshake(*more: str, method: str = "GET", path: str = "/predictions/m", without: str = "?") -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1", "Host: x", "Connection: keep-alive, Upgrade", "Upgrade: websocket",
        "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}",
    ]  # fmt: skip
    return "\r\n".join([*(each for each in lines if not each.startswith(without)), *more]).encode() + b"\r\n\r\n"


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
    head = bytearray(frame_head(opcode, len(data)))
    head[0] = (0x80 if fin else 0) | rsv | opcode
    if not masked:
        return bytes(head) + data
    head[1] |= 0x80
    return bytes(head) + MASK + bytes(byte ^ MASK[at % 4] for at, byte in enumerate(data))


@dataclass
class Raw:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def told(self) -> tuple[int, bytes]:
        """The next frame; (0, b"") where the connection ends."""
        async with asyncio.timeout(SOON):
            try:
                first, size = await self.reader.readexactly(2)
                if size > 125:
                    size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
                return first & 0xF, await self.reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionResetError):
                return 0, b""

    async def code(self) -> int:
        """The code of the close frame, behind whatever comes before it."""
        while True:
            opcode, data = await self.told()
            if opcode in {0, CLOSE}:
                return int.from_bytes(data[:2], "big")


@asynccontextmanager
async def upgraded(h: RunningFront, *behind: bytes, headers: tuple[str, ...] = ()) -> AsyncIterator[Raw]:
    async with connect(h.port()) as (reader, writer):
        writer.write(handshake(*headers) + b"".join(behind))
        lines, _ = head_and_body(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SOON))
        assert lines[0] == "HTTP/1.1 101 Switching Protocols"
        yield Raw(reader, writer)


async def test_the_answer_is_that_of_the_rfc_and_frames_may_be_behind_the_handshake():
    async with running_front() as h, connect(h.port()) as (reader, writer):
        key = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 1.3
        writer.write(handshake(f"Sec-WebSocket-Key: {key}", without="Sec-WebSocket-Key") + frame(TEXT, b"x"))
        lines, _ = head_and_body(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SOON))
        assert "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in lines
        assert not [line for line in lines if "extensions" in line]
        assert await Raw(reader, writer).told() == (TEXT, b"x")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (handshake("Origin: http://evil.example"), 403),
        (handshake("Origin: null"), 403),
        (handshake("Sec-Fetch-Site: cross-site"), 403),
        (handshake("Host: rebound.example", without="Host"), 403),
        (handshake(path="/predictions/none"), 404),
        (handshake(path="/predictions/m/2.0"), 404),
        (handshake("Sec-WebSocket-Version: 8", without="Sec-WebSocket-Version"), 426),
        (handshake(without="Sec-WebSocket-Version"), 426),
        (handshake(without="Sec-WebSocket-Key"), 400),
        (handshake("Sec-WebSocket-Key: short", without="Sec-WebSocket-Key"), 400),
        (handshake(path="/predictions/m?content-type=a%0d%0ab"), 400),
        (handshake(path="/predictions/m?sequence-end=maybe"), 400),
        (handshake("x-request-priority: 99"), 400),
    ],
)
async def test_a_handshake_that_is_refused_says_why_and_ends_the_connection(request_: bytes, status: int):
    async with running_front() as h:
        got = await h.say(request_ + frame(TEXT, b"x"))
        assert got.startswith(f"HTTP/1.1 {status} ".encode()), got
        assert (b"Sec-WebSocket-Version: 13" in got) is (status == 426)
        assert got.count(b"HTTP/1.1 ") == 1, "what is behind it is no request"
        assert not h.data.payloads
        assert [(entry.method, entry.status) for entry in h.log] == [("GET", status)]


@pytest.mark.parametrize(
    "request_",
    [
        handshake("Content-Length: 0", method="POST"),
        handshake(without="Connection"),
        handshake(without="Upgrade"),
        handshake(path="/explanations/m"),
    ],
)
async def test_what_is_no_handshake_stays_a_prediction(request_: bytes):
    async with running_front() as h, connect(h.port()) as (reader, writer):
        writer.write(request_)
        lines, _ = await answer(reader)
        assert lines[0].startswith("HTTP/1.1 200 ")
        assert [(entry.method, entry.status) for entry in h.log] == [(request_.partition(b" ")[0].decode(), 200)]


async def test_own_pages_and_those_of_the_allowed_origin_may_connect():
    async with running_front(cors=Cors("https://app.example", "", "")) as h:
        for origin in ("http://x", "https://app.example"):
            async with connect(h.port()) as (reader, writer):
                writer.write(handshake(f"Origin: {origin}"))
                got = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SOON)
                assert got.startswith(b"HTTP/1.1 101 ")
        assert (await h.say(handshake("Origin: https://other.example"))).startswith(b"HTTP/1.1 403 ")


BAD = {
    "not masked": (frame(TEXT, b"x", masked=False), 1002),
    "a reserved bit": (frame(TEXT, b"x", rsv=0x40), 1002),
    "an opcode that is none": (frame(0x3, b"x"), 1002),
    "a ping in fragments": (frame(PING, fin=False), 1002),
    "a ping that is too long": (b"\x89\xfe\x00\x7e" + MASK + bytes(126), 1002),
    "a fragment of nothing": (frame(0x0, b"x"), 1002),
    "a message in another": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    "a close code that is none": (frame(CLOSE, b"\x03\xee"), 1002),
    "a close code of nobody": (frame(CLOSE, b"\xff\xff"), 1002),
    "a close frame of one byte": (frame(CLOSE, b"\x03"), 1002),
    "text that is not UTF-8": (frame(TEXT, b"\xc3\x28"), 1007),
    "a reason that is not UTF-8": (frame(CLOSE, b"\x03\xe8\xff"), 1007),
    "too large": (frame(BINARY, bytes(1001)), 1009),
    "too large in all": (frame(BINARY, bytes(600), fin=False) + frame(0x0, bytes(600)), 1009),
    "of 2**63 bytes": (b"\x82\xff\x80" + bytes(7) + MASK, 1009),
}


@pytest.mark.parametrize("name", BAD)
async def test_frames_that_are_refused_close_the_connection_with_their_code(name: str):
    bad, code = BAD[name]
    async with running_front(Limits(max_request_size=1000)) as h, upgraded(h, frame(BINARY, bytes(1000))) as raw:
        assert await raw.told() == (BINARY, bytes(1000)), "exactly this much is still accepted"
        raw.writer.write(bad)
        assert await raw.code() == code


async def test_a_clients_close_is_answered_with_its_code():
    async with running_front() as h:
        for data in (b"\x03\xe9bye", b""):
            async with upgraded(h, frame(CLOSE, data)) as raw:
                assert await raw.told() == (CLOSE, data[:2])
                assert await raw.told() == (0, b"")


@pytest.mark.parametrize(
    "frames",
    [
        frame(TEXT, fin=False) + frame(0x0, b"x", fin=False) * 60,
        frame(TEXT, fin=False) + frame(0x0, fin=False) * 60,
        frame(PING) * 60,
        frame(PONG, b"x") * 60,
    ],
    ids=["fragments", "empty fragments", "pings", "pongs"],
)
async def test_a_flood_of_small_frames_is_ended(frames: bytes):
    limits = Limits(small_frames=50, small_frames_rate=0.0)
    async with running_front(limits) as h:
        async with upgraded(h, *[frame(TEXT, b"x")] * 200) as raw:
            assert [await raw.told() for _ in range(200)] == [(TEXT, b"x")] * 200, "messages are no flood"
            raw.writer.write(frames)
            assert await raw.code() == 1008
        assert not h.data.held


async def test_what_arrives_is_counted_and_a_full_server_says_so():
    async with running_front(data=FakeDataPlane(most=5000)) as h:
        async with upgraded(h, frame(BINARY, bytes(4000), fin=False)) as raw:
            async with asyncio.timeout(SOON):
                while h.data.held != 4000:
                    h.data.changed.clear()
                    await asyncio.sleep(0)
            raw.writer.write(frame(0x0, bytes(2000)))
            assert await raw.code() == 1013
        assert not h.data.payloads
    assert not h.data.held


async def test_a_message_that_comes_too_slowly_is_ended():
    async with running_front(Limits(body_idle=0.1)) as h, upgraded(h, frame(TEXT, b"x", fin=False)) as raw:
        assert await raw.told() == (CLOSE, b"\x03\xf0nothing of a message came for 0.1 s")


async def test_a_key_is_asked_for_at_the_handshake_and_for_each_message(tmp_path: Path):
    async with front_with_keys(tmp_path, "apart") as made:
        for path in ("/predictions/m", f"/predictions/m?token={made.key('inference')}"):
            assert (await made.h.say(handshake(path=path))).startswith(b"HTTP/1.1 400 ")
        key = f"Authorization: Bearer {made.key('inference')}"
        async with upgraded(made.h, frame(TEXT, b"x"), headers=(key,)) as raw:
            assert await raw.told() == (TEXT, b"x")
            await made.token_auth.renew("inference")
            raw.writer.write(frame(TEXT, b"x"))
            opcode, data = await raw.told()
            assert (opcode, json.loads(data)["type"]) == (TEXT, "InvalidKeyException"), "the key is no more"
            assert len(made.h.data.payloads) == 1


def broken(data: bytes, cuts: list[int]) -> list[bytes]:
    at = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in pairwise(at)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bodies=st.lists(st.binary(max_size=700), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 700), max_size=4),
    packets=st.lists(st.integers(0, 3000), max_size=6),
    pings=st.booleans(),
)
def test_fragments_and_packets_of_any_size_are_the_same_messages(
    bodies: list[bytes], cuts: list[int], packets: list[int], pings: bool
):
    sent = b""
    for body in bodies:
        pieces = broken(body, cuts)
        for number, piece in enumerate(pieces):
            sent += frame(BINARY if number == 0 else 0x0, piece, fin=number == len(pieces) - 1)
            sent += frame(PING, b"p") if pings else b""
    got: list[bytes] = []

    async def exchange() -> None:
        async with running_front() as h, upgraded(h) as raw:
            for packet in broken(sent, packets):
                raw.writer.write(packet)
                await asyncio.sleep(0)
            while len(got) < len(bodies):
                opcode, data = await raw.told()
                assert opcode in {BINARY, PONG}
                if opcode == BINARY:
                    got.append(data)

    asyncio.run(exchange())
    assert got == bodies


def test_heads_of_frames_that_are_sent():
    assert frame_head(TEXT, 5) == b"\x81\x05"
    assert frame_head(BINARY, 126) == b"\x82\x7e\x00\x7e"
    assert frame_head(BINARY, 65536) == b"\x82\x7f" + (65536).to_bytes(8, "big")
    assert close_frame(1001, "é" * 100)[:4] == b"\x88\x7c\x03\xe9"


async def test_a_large_answer_is_one_message():
    def behave(_: object, sink: object) -> None:
        sink.done(Reply(b"y" * 300_000))  # type: ignore[attr-defined]

    async with running_front(data=FakeDataPlane(behave)) as h, upgraded(h, frame(BINARY, b"x")) as raw:  # type: ignore[arg-type]
        assert await raw.told() == (BINARY, b"y" * 300_000)
