"""TokenStream: one streamed answer of a language model, and when its tokens came."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .event_reader import BadStream, EventReader


@dataclass(slots=True)
class Answer:
    """The outcome of a request. Times are in seconds: `due` and `first` by the clock, `gaps` between the events with
    tokens. `tokens` are those that the server counted, else one an event. `error` says why there is no whole answer.
    """

    due: float
    sent: float = 0.0
    first: float = 0.0
    last: float = 0.0
    tokens: int = 0
    prompt_tokens: int = 0
    status: int = 0
    error: str = ""
    gaps: tuple[float, ...] = ()

    @property
    def ttft(self) -> float:
        """Return the time to the first token."""
        return self.first - self.due

    @property
    def tpot(self) -> float | None:
        """Return the time of each token behind the first one; None for an answer of a single one."""
        return (self.last - self.first) / (self.tokens - 1) if self.tokens > 1 else None


class OpenAiServer:
    """The address of an OpenAI API. Connections are kept and used again. `base` is a URL such as http://host:8000/v1."""

    def __init__(self, base: str, key: str = "", headers: Mapping[str, str] = {}, *, insecure: bool = False) -> None:
        parts = urlsplit(base if "://" in base else f"http://{base}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{base!r} is no URL of a server")
        self._host, self._tls = parts.hostname, parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        path = parts.path.rstrip("/")
        self.path = path if path.endswith("/v1") else f"{path}/v1"
        fields = {"Host": parts.netloc, "Content-Type": "application/json", **headers}
        if key:
            fields["Authorization"] = f"Bearer {key}"
        self._fields = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._context = None
        if self._tls:
            self._context = ssl.create_default_context()
            if insecure:
                self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE
        self._idle: list[_Connection] = []

    async def stream(self, path: str, body: Mapping[str, Any], due: float, timeout: float) -> Answer:
        """Ask for a streamed answer and return when its tokens came."""
        answer = Answer(due)
        request = self._request("POST", path, json.dumps(body).encode())
        try:
            async with asyncio.timeout(timeout):
                connection = await self._connect()
                answer.sent = time.perf_counter()
                await connection.ask(request, _Collector(answer))
                self._give_back(connection)
        except TimeoutError:
            answer.error = f"no whole answer in {timeout:g} s"
        except (OSError, BadStream, ValueError) as error:
            answer.error = str(error) or type(error).__name__
        return answer

    async def get(self, path: str, timeout: float) -> tuple[int, bytes]:
        """Return status and body of a plain GET. Raises OSError and BadStream."""
        async with asyncio.timeout(timeout):
            connection = await self._connect()
            reader = await connection.ask(self._request("GET", path, b""), None)
            self._give_back(connection)
            return reader.status, reader.body

    def close(self) -> None:
        """Close the connections that are kept."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _request(self, method: str, path: str, body: bytes) -> bytes:
        head = f"{method} {self.path}{path} HTTP/1.1\r\n{self._fields}Content-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    async def _connect(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(_Connection, self._host, self._port, ssl=self._context)
        return made

    def _give_back(self, connection: _Connection) -> None:
        if connection.open and connection.keep:
            self._idle.append(connection)
        else:
            connection.close()


class _Connection(asyncio.Protocol):
    """A connection that carries one request at a time."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._reader = EventReader()
        self._collector: _Collector | None = None
        self._done: asyncio.Future[EventReader] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    @property
    def open(self) -> bool:
        return not self._transport.is_closing()

    @property
    def keep(self) -> bool:
        return self._reader.keep

    async def ask(self, request: bytes, collector: _Collector | None) -> EventReader:
        self._reader, self._collector = EventReader(), collector
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            reader = await self._done
        except BaseException:
            self.close()
            raise
        if collector is not None:
            collector.end(reader)
        return reader

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        try:
            events = self._reader.feed(data)
            if events and self._collector is not None:
                self._collector.add(events, now)
        except ValueError as error:  # BadStream, and an event that is no JSON
            self._settle(error)
            return
        if self._reader.complete:
            self._settle(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle(None if self._reader.close() else exc or ConnectionError("closed before the answer's end"))

    def close(self) -> None:
        self._transport.abort()

    def _settle(self, error: Exception | None) -> None:
        if self._done is None or self._done.done():
            return
        self._done.set_result(self._reader) if error is None else self._done.set_exception(error)


class _Collector:
    """The events of one answer."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._gaps: list[float] = []
        self._count = 0
        self._ended = False

    def add(self, events: list[bytes], now: float) -> None:
        answer = self._answer
        carrying = 0
        for event in events:
            # Most events carry text and nothing else; only others are parsed.
            if answer.first and b'"usage":{' not in event and b'"error"' not in event:
                carrying += b'"content":' in event or b'"text":' in event or b'"tool_calls":' in event
                self._ended = self._ended or event == b"[DONE]"
            elif event == b"[DONE]":
                self._ended = True
            else:
                carrying += self._read(json.loads(event))
        if not carrying:
            return
        if answer.first:
            self._gaps.append(now - answer.last)
        else:
            answer.first = now
        answer.last = now
        self._count += carrying

    def _read(self, event: dict[str, Any]) -> bool:
        """Take in an event, and return whether it has tokens."""
        usage = event.get("usage")
        if usage:
            self._answer.tokens = usage.get("completion_tokens", 0)
            self._answer.prompt_tokens = usage.get("prompt_tokens", 0)
            # `transformers serve` sends no [DONE]: its last event has the usage and says why the text ends.
            self._ended = self._ended or any(choice.get("finish_reason") for choice in event.get("choices", ()))
        if event.get("error"):
            self._answer.error = str(event["error"].get("message", event["error"]))[:200]
        return any(_has_text(choice) for choice in event.get("choices", ()))

    def end(self, reader: EventReader) -> None:
        answer = self._answer
        answer.status, answer.gaps = reader.status, tuple(self._gaps)
        answer.tokens = answer.tokens or self._count
        if reader.status != 200:
            answer.error = f"status {reader.status}: {reader.body[:200].decode(errors='replace')}"
        elif not answer.error and not self._ended:
            answer.error = "the stream has no end: no [DONE]"
        elif not answer.error and not answer.first:
            answer.error = "the answer has no tokens"


def _has_text(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta") or choice
    return any(delta.get(name) for name in ("content", "text", "reasoning_content", "tool_calls"))
