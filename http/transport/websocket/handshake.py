"""The handshake: whether a request may go on as a WebSocket, and the answer that lets it (RFC 6455 4.2)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import uuid4

from ....core.errors import BadRequest
from ...message.errors import UnsupportedWebSocket
from ...message.reply import DefaultHeaders, encode_head
from ...message.request import Head
from ...message.sequence_headers import SequenceHeaders
from ...predict.predict_request import SCOPE, PredictRequest
from ...predict.spans import WEBSOCKET
from ...routing.router import Router
from .frames import TEXT

SUBPROTOCOL = "torchserve.v1"

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MEDIA = re.compile(r"[!-~](?:[ -~]{0,254}[!-~])?", re.ASCII)
# Headers of the handshake that are not those of the requests in the messages.
_OF_HANDSHAKE = frozenset(
    (b"connection", b"upgrade", b"content-length", b"content-type", b"if-none-match", b"accept-encoding")
)


@dataclass(frozen=True, slots=True)
class Sequence:
    """The sequence of a stateful model that a connection is. `ends`: the model is told when the connection ends."""

    id: str
    ends: bool


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A handshake that is accepted.

    `asked` is what its head asks for, `media` the content type of every message if that is not "". `sequence` is there
    for a stateful model. With `enveloped` the answers are in torchserve.v1.
    """

    asked: PredictRequest
    params: Mapping[str, str]
    key: str
    names: SequenceHeaders
    media: str
    enveloped: bool
    sequence: Sequence | None

    def answer(self, request_id: str, default_headers: DefaultHeaders) -> bytes:
        """Return the answer that ends the handshake."""
        digest = hashlib.sha1(self.key.encode() + _GUID, usedforsecurity=False).digest()
        fields = [
            ("x-request-id", request_id), *default_headers.more, ("upgrade", "websocket"), ("connection", "upgrade"),
            ("sec-websocket-accept", base64.b64encode(digest).decode()),
        ]  # fmt: skip
        if self.enveloped:
            fields.append(("sec-websocket-protocol", SUBPROTOCOL))
        return encode_head(101, "Switching Protocols", fields)

    def request(self, kind: int, marks: Mapping[str, str], *, check_json: bool) -> PredictRequest:
        """Return what a message of `kind` asks for, whose request has the headers `marks` beside the handshake's."""
        asked = self.asked
        kept = [field for field in asked.head.raw_headers if not self._of_handshake(field[0].lower())]
        media = self.media or ("text/plain" if kind == TEXT else "application/octet-stream")
        more = {"content-type": media, **marks}
        head = Head(
            WEBSOCKET, asked.head.target,
            (*kept, *((name.encode("latin-1"), value.encode("latin-1")) for name, value in more.items())),
            asked.head.peer,
        )  # fmt: skip
        fields = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in head.raw_headers}
        read = asked.codec.read_head(head, fields, self.params, check_json=check_json)
        return replace(asked, head=head, fields=fields, read=read)

    def _of_handshake(self, name: bytes) -> bool:
        folded = name.decode("latin-1").replace("-", "_")
        return (
            name in _OF_HANDSHAKE
            or name.startswith(b"sec-websocket-")
            or folded in {_folded(each) for each in (self.names.id, self.names.start, self.names.end)}
        )


def read_upgrade(router: Router, asked: PredictRequest) -> Upgrade | None:
    """Return the handshake if a prediction's head is one that is served, None if it is no handshake.

    Raises ServeError for one that is refused: what the head itself is refused for, InvalidKey, ModelNotFound,
    VersionNotFound, and BadRequest for what is wrong with the handshake.
    """
    head, fields, context = asked.head, asked.fields, router.context
    found = router.table.find_prediction(head.path())
    if found is None or not found[0].websocket or not head.http11:
        return None
    head.keep_alive = False  # what follows may be frames already
    if asked.refusal is not None:
        raise asked.refusal
    if context.token_auth is not None:
        context.token_auth.check(SCOPE, fields)
    if fields.get("sec-websocket-version", "").strip() != "13":
        raise UnsupportedWebSocket
    key = fields.get("sec-websocket-key", "").strip()
    if not _is_key(key):
        raise BadRequest("Sec-WebSocket-Key must be 16 bytes in base64.")
    offered = [each.strip() for each in fields.get("sec-websocket-protocol", "").split(",")]
    model = asked.read.model
    stateful = model not in context.dataplane.aliases() and context.dataplane.stateful(model, asked.read.version)
    query = head.query()
    media = query.get("content-type", [""])[-1]
    if media and not _MEDIA.fullmatch(media):
        raise BadRequest("The parameter content-type must be a content type of at most 256 printable characters.")
    ends = query.get("sequence-end", ["true"])[-1].lower()
    if ends not in {"true", "false"}:
        raise BadRequest("The parameter sequence-end must be true or false.")
    names = context.sequence_headers
    given = next((value for name, value in fields.items() if _folded(name) == _folded(names.id)), "")
    sequence = Sequence(given or f"ts-seq-{uuid4()}", ends == "true") if stateful else None
    return Upgrade(asked, found[1], key, names, media, SUBPROTOCOL in offered, sequence)


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")
