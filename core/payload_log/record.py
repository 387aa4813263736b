"""PayloadRecord: a request or an answer as it is logged, as a CloudEvent over HTTP or as a line of JSON."""

from __future__ import annotations

import base64
import socket
import time
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import orjson

from ..errors import HandlerFailed
from ..payload import Body, Part, Payload, Reply

REQUEST: Final = "org.kubeflow.serving.inference.request"
RESPONSE: Final = "org.kubeflow.serving.inference.response"
_HOST: Final = socket.gethostname()
# Printable ASCII goes into a header of a CloudEvent as it is, less the quotation mark and the percent sign.
_PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


class PayloadRecord(NamedTuple):
    """A request or an answer. `size` is its body's whole size, of which `body` may be the beginning alone.

    `status` is an answer's, 0 of a request; an answer that is an error has its text as the body.
    """

    kind: str
    id: str
    model: str
    version: str
    time: float
    content_type: str
    body: bytes
    size: int
    status: int = 0

    @property
    def weight(self) -> int:
        """The bytes that the record counts for in a queue."""
        return len(self.body) + 512

    def headers(self) -> dict[str, str]:
        """Return the headers of a CloudEvent in binary mode, as KServe's logger sends them, and more."""
        found = {
            "ce-specversion": "1.0",
            "ce-id": self.id,
            "ce-type": self.kind,
            "ce-source": f"/torchserve/{_HOST}/models/{quote(self.model, safe='')}",
            "ce-time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(self.time))}.{int(self.time % 1 * 1000):03d}Z",
            "ce-inferenceservicename": self.model,
            "ce-modelversion": self.version,
        }
        if self.status:
            found["ce-status"] = str(self.status)
        if self.size > len(self.body):
            found["ce-bodysize"] = str(self.size)
        told = {name: quote(value[:1000], safe=_PLAIN) for name, value in found.items()}
        return {**told, "content-type": quote(self.content_type[:200] or "application/octet-stream", safe=_PLAIN + " ")}

    def line(self) -> bytes:
        """Return the record as a line of JSON: a body that is text as text, any other as base64."""
        found: dict[str, Any] = {
            "type": self.kind,
            "id": self.id,
            "time": round(self.time, 3),
            "model": self.model,
            "version": self.version,
            "contentType": self.content_type,
        }
        if self.status:
            found["status"] = self.status
        try:
            found["body"] = self.body.decode()
        except UnicodeDecodeError:
            found["bodyBase64"] = base64.b64encode(self.body).decode()
        if self.size > len(self.body):
            found["bodySize"] = self.size
        return orjson.dumps(sendable(found)) + b"\n"


def sendable(found: dict[str, Any]) -> dict[str, Any]:
    """Return the texts without lone surrogates, which no UTF-8 has."""
    return {
        name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for name, value in found.items()
    }


def body_of(payload: Payload, most: int) -> tuple[str, bytes, int]:
    """Return the content type of a request, the first `most` bytes of its body, and its whole size.

    A request of several parts, or of tensors, becomes a JSON object that has each of them in base64.
    """
    parts = payload.parts
    if len(parts) == 1 and (payload.infer is None or payload.infer.whole):
        return parts[0].content_type, start_of(parts[0].body, most), len(parts[0].body)
    size = sum(len(part.body) for part in parts)
    told: list[dict[str, Any]] = []
    left = most
    heads = payload.infer.inputs if payload.infer is not None else ()
    for place, part in enumerate(parts[:256]):
        data = start_of(part.body, left)
        left -= len(data)
        head = {"shape": heads[place].shape, "datatype": heads[place].datatype} if place < len(heads) else {}
        told.append(_part(part, data) | head)
    whole = orjson.dumps({"parts": told})
    return "application/json", whole, len(whole) + size - (most - left)


def _part(part: Part, data: bytes) -> dict[str, Any]:
    name = part.name.encode("utf-8", "replace").decode()
    return {"name": name, "contentType": part.content_type, "data": base64.b64encode(data).decode()}


def start_of(body: Body, most: int) -> bytes:
    """Return a copy of the first bytes of a body, whose memory may be used again."""
    return bytes(memoryview(body)[:most])


def failure_of(error: Exception) -> Reply:
    """Return an error as an answer."""
    status = error.status if isinstance(error, HandlerFailed) else 500
    return Reply(str(error).encode("utf-8", "replace"), status, content_type="text/plain")
