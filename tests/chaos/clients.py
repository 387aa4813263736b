"""The clients of a chaos run, from the polite to the rude. Each tells the ledger what became of every request it sent."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from .conversation import Answer, Conversation, NoAnswer
from .ledger import Asked
from .models import BATCHED, CALLERS, COMING, INVOLVED, PASSING, STREAMED, WORKFLOWS
from .scene import Scene

_NUMBERS = itertools.count(1)
_MOST_ON_ONE = 40  # requests on one connection, before its client makes a new one


@dataclass(slots=True)
class Ask:
    """A request that is to be sent, and how its answer is known."""

    path: str
    model: str
    verb: str = "echo"
    number: str = "0"
    padding: int = 0
    id: str = field(default_factory=lambda: f"r{next(_NUMBERS):07d}")

    @property
    def body(self) -> bytes:
        return f"{self.id} {self.verb} {self.number}\n".encode() + b"x" * self.padding

    def bytes(self, *, framing: str = "", close: bool = False) -> bytes:
        """The request as it is sent, the body by its length or, with `framing` chunked, in pieces."""
        body = self.body
        how = f"Content-Length: {len(body)}"
        if framing == "chunked":
            how = "Transfer-Encoding: chunked"
            pieces = [body[i : i + 1000] for i in range(0, len(body), 1000)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        last = "Connection: close\r\n" if close else ""
        head = f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\n{how}\r\n{last}\r\n"
        return head.encode() + body

    @property
    def kind(self) -> str:
        """What the ledger counts apart."""
        return "workflows" if self.model in WORKFLOWS else "calls" if self.model in CALLERS else "predictions"

    def is_right(self, answer: Answer) -> bool:
        """Whether a success is the whole answer to this request and to no other."""
        if self.model in WORKFLOWS:
            body = self.body
            if self.model == COMING:
                return answer.body == body + b" first last"
            return answer.body == b"%b split left%b split right join" % (body, body)
        text = answer.body.decode("latin-1")
        if self.model in CALLERS:
            called = f"{self.id}c"
            body = f"{called} echo 0\n".encode() + self.body
            return text == f"{self.id} called {called} {zlib.crc32(body)} "
        if self.verb == "stream":
            lines = [f"{self.id} {i}" for i in range(int(self.number))]
            return text.replace("." * 2000, "\n") == "\n\n".join([*lines, f"{self.id} end"])
        expected = f"{self.id} {zlib.crc32(self.body)} "
        if self.verb == "big":
            expected += self.id * (int(self.number) // len(self.id))
        return text == expected


class Client:
    """What all clients have: a scene, a random source of their own, and the way to book an answer."""

    def __init__(self, scene: Scene, rng: random.Random) -> None:
        self.scene = scene
        self.rng = rng

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Conversation]:
        """A connection to the server, as soon as it is up."""
        while True:
            _ = await self.scene.up.wait()
            try:
                talk = await Conversation.open(self.scene.port)
                break
            except NoAnswer:
                await asyncio.sleep(0.05)
        try:
            yield talk
        finally:
            await talk.close()

    async def send(self, talk: Conversation, data: bytes) -> tuple[float, float]:
        """Send it all; the times of its first and last byte. One that can't be sent is seen when it is answered."""
        begin = self.scene.now()
        with contextlib.suppress(NoAnswer):
            await talk.send(data)
        return begin, self.scene.now()

    async def settle(
        self, talk: Conversation, ask: Ask, times: tuple[float, float], *, pause: float = 0.0, patient: bool = True
    ) -> bool:
        """Read and book the answer. Returns whether the connection can be used again."""
        first = talk.count == 0
        try:
            answer = await talk.read(pause)
        except NoAnswer as error:
            _ = self.scene.ledger.unanswered(self._asked(ask, times, first=first, patient=patient), str(error))
            return False
        told = "" if answer.status < 300 else answer.body.decode("latin-1")
        right = answer.status == 200 and ask.is_right(answer)
        shown = told or answer.body[:120].decode("latin-1")
        asked = self._asked(ask, times, first=first, patient=patient)
        _ = self.scene.ledger.answered(asked, answer.status, right=right, told=shown)
        return not answer.closing

    def _asked(self, ask: Ask, times: tuple[float, float], *, first: bool, patient: bool) -> Asked:
        through = INVOLVED.get(ask.model, ())
        return Asked(ask.id, ask.model, *times, self.scene.now(), first, patient, ask.kind, through)

    def draw(self, *, most: int = 200_000) -> Ask:
        """A request to one of the models that answer in batches, to one that calls another, or to a workflow."""
        model = self.rng.choice((*BATCHED, PASSING, f"{PASSING}/1.0", f"{PASSING}/2.0", *self.scene.flows))
        verb, number = self.rng.choice((("echo", "0"), ("echo", "0"), ("sleep", "0.01"), ("big", "100000")))
        padding = self.rng.choice((0, 20, 5_000, 70_000, most))
        route = "wfpredict" if model in WORKFLOWS else "predictions"
        return Ask(f"/{route}/{model}", model, verb, number, padding)


Behaviour: TypeAlias = Callable[[Client], Awaitable[None]]


async def polite(client: Client) -> None:
    """One request after the other on a connection that is kept."""
    async with client.connection() as talk:
        for _ in range(client.rng.randrange(1, _MOST_ON_ONE)):
            ask = client.draw()
            times = await client.send(talk, ask.bytes())
            if not await client.settle(talk, ask, times):
                return


async def chunking(client: Client) -> None:
    """The body in chunks."""
    async with client.connection() as talk:
        for _ in range(client.rng.randrange(1, 10)):
            ask = client.draw(most=20_000)
            times = await client.send(talk, ask.bytes(framing="chunked"))
            if not await client.settle(talk, ask, times):
                return


async def pipelining(client: Client) -> None:
    """Several requests at once, whose answers have to come in their order."""
    async with client.connection() as talk:
        asks = [client.draw(most=100) for _ in range(client.rng.randrange(2, 8))]
        times = await client.send(talk, b"".join(ask.bytes() for ask in asks))
        open_ = True
        for ask in asks:
            if open_:
                open_ = await client.settle(talk, ask, times)
            else:  # behind an answer that closed the connection nothing is answered: its client may send them again
                left = client._asked(ask, times, first=False, patient=False)
                _ = client.scene.ledger.unanswered(left, "behind an answer that closed the connection")


async def streaming(client: Client) -> None:
    """Streamed answers, some of them read slowly."""
    async with client.connection() as talk:
        for _ in range(client.rng.randrange(1, 6)):
            count = client.rng.choice((1, 10, 100))
            ask = Ask(f"/predictions/{STREAMED}", STREAMED, "stream", str(count))
            times = await client.send(talk, ask.bytes())
            if not await client.settle(talk, ask, times, pause=client.rng.choice((0.0, 0.002))):
                return


async def slow_reading(client: Client) -> None:
    """A large answer that is read in small pieces."""
    async with client.connection() as talk:
        ask = Ask("/predictions/calm", "calm", "big", "3000000")
        times = await client.send(talk, ask.bytes())
        _ = await client.settle(talk, ask, times, pause=0.01)


async def slow_sending(client: Client) -> None:
    """A body that comes in pieces, none of which is late enough to be refused."""
    async with client.connection() as talk:
        ask = client.draw(most=50_000)
        data = ask.bytes(close=True)
        begin = client.scene.now()
        with contextlib.suppress(NoAnswer):
            for start in range(0, len(data), max(1, len(data) // 5)):
                await talk.send(data[start : start + max(1, len(data) // 5)])
                await asyncio.sleep(0.05)
        _ = await client.settle(talk, ask, (begin, client.scene.now()))


async def leaving(client: Client) -> None:
    """Goes away in the middle: of the head, of the body, of the wait, of the answer."""
    async with client.connection() as talk:
        ask = client.draw()
        data = ask.bytes()
        times = await client.send(talk, data[: client.rng.choice((10, len(data) - 5, len(data)))])
        await asyncio.sleep(client.rng.choice((0.0, 0.005, 0.02)))
        talk.abort()
        asked = client._asked(ask, times, first=False, patient=False)
        _ = client.scene.ledger.unanswered(asked, "left")


_RUDE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /predictions/calm HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /predictions/calm HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /predictions/calm HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\r\n" * 100,
    b"GET /ping HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
)


async def rude(client: Client) -> None:
    """Sends what is no request, and looks at nothing. Whatever it gets, others must not feel it."""
    async with client.connection() as talk:
        _ = await client.send(talk, client.rng.choice(_RUDE))
        await asyncio.sleep(0.02)
        talk.abort()


async def hoarding(client: Client) -> None:
    """Asks much at once and reads nothing of it for a while."""
    async with client.connection() as talk:
        _ = await client.send(talk, b"GET /api-description HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
        await asyncio.sleep(0.5)
        talk.abort()


CAST: tuple[tuple[Behaviour, int], ...] = (
    (polite, 6), (chunking, 1), (pipelining, 2), (streaming, 2), (slow_reading, 1), (slow_sending, 1), (leaving, 1),
    (rude, 1), (hoarding, 1),
)  # fmt: skip


async def play(scene: Scene, behaviour: Behaviour, seed: str) -> None:
    """Behave like that, over and over, until the run is over."""
    client = Client(scene, random.Random(seed))
    while not scene.over.is_set():
        with contextlib.suppress(NoAnswer):  # a connection that the server ended before anything was asked on it
            await behaviour(client)
        await asyncio.sleep(client.rng.random() * 0.02)
