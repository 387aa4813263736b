"""ModelPayloads: which requests of a model version are logged, and the sink that sees their answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from ...scheduler.job import Sink
from ..payload import Payload, Reply
from .record import REQUEST, RESPONSE, PayloadRecord, body_of, failure_of, start_of
from .redactor import Redactor
from .writer import PayloadWriter

_DRAW: Final = Random()  # noqa: S311  (no secret)


@dataclass(frozen=True, slots=True)
class Sampling:
    """The part of the requests that is logged, which of request and answer (all, request, response), and how many bytes
    of each body.
    """

    share: float
    mode: str = "all"
    most: int = 1 << 16


class ModelPayloads:
    """The payload log of one version. `draw` returns a number from 0 to 1 for each request."""

    def __init__(
        self,
        writer: PayloadWriter,
        name: tuple[str, str],
        sampling: Sampling,
        redactor: Redactor | None = None,
        draw: Callable[[], float] = _DRAW.random,
    ) -> None:
        self._writer = writer
        self._name, self._version = name
        self.share = sampling.share
        self._requests, self._answers = sampling.mode != "response", sampling.mode != "request"
        self.most = sampling.most
        self._redactor = redactor
        self._draw = draw

    def watch(self, payload: Payload, sink: Sink) -> Sink:
        """Return the sink to use for a request: `sink` itself, or if the request is drawn one that logs its answer."""
        if self._draw() >= self.share:
            return sink
        if self._requests:
            self._put(REQUEST, payload.request_id, *body_of(payload, self.most))
        return LoggedSink(self, payload.request_id, sink) if self._answers else sink

    def answered(self, request_id: str, reply: Reply, body: bytes, size: int) -> None:
        """Log an answer, of whose body so many bytes were kept."""
        self._put(RESPONSE, request_id, reply.content_type or "", body, size, reply.status)

    def close(self) -> None:
        """End the process that redacts."""
        if self._redactor is not None:
            self._redactor.close()

    def _put(self, kind: str, request_id: str, content_type: str, body: bytes, size: int, status: int = 0) -> None:
        record = PayloadRecord(
            kind, request_id, self._name, self._version, time.time(), content_type, body, size, status
        )
        self._writer.offer(record, self._redactor.redact if self._redactor is not None else None)


class LoggedSink:
    """The sink of a request that is logged: it passes everything on, and keeps the beginning of the answer."""

    __slots__ = ("_body", "_log", "_request_id", "_sink", "_size")

    def __init__(self, log: ModelPayloads, request_id: str, sink: Sink) -> None:
        self._log = log
        self._request_id = request_id
        self._sink = sink
        self._body = bytearray()
        self._size = 0

    def chunk(self, item: object) -> None:
        """Pass on a piece of a streamed answer."""
        self._keep(item)
        self._sink.chunk(item)

    def done(self, item: object) -> None:
        """Pass on the answer, and log it."""
        self._keep(item)
        if isinstance(item, Reply):
            self._log.answered(self._request_id, item, bytes(self._body), self._size)
        self._sink.done(item)

    def fail(self, error: Exception) -> None:
        """Pass on the error, and log it."""
        reply = failure_of(error)
        self._keep(reply)
        self._log.answered(self._request_id, reply, bytes(self._body), self._size)
        self._sink.fail(error)

    def _keep(self, item: object) -> None:
        if isinstance(item, Reply):
            self._size += len(item.body)
            if len(self._body) < self._log.most:
                self._body += start_of(item.body, self._log.most - len(self._body))
