"""What the header fields of a call say: gRPC's own, and the metadata that the handler may see."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...core.errors import BadRequest
from .framing import CODINGS
from .status import Code, RpcFailure

ACCEPTED = ",".join(("identity", *CODINGS))  # encodings of messages

_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])", re.ASCII)
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
# These are about the call, and nothing to a handler.
_OURS = frozenset(("te", "content-type", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding"))


def is_grpc(headers: Mapping[str, str]) -> bool:
    """Return whether a request is a call, by its content type: gRPC of protobuf messages."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind in {"application/grpc", "application/grpc+proto"}


def read_timeout(headers: Mapping[str, str]) -> float | None:
    """Return the seconds in which the client needs its answer, None if it does not say. Raises BadRequest."""
    text = headers.get("grpc-timeout")
    if text is None:
        return None
    found = _TIMEOUT.fullmatch(text)
    if found is None:
        raise BadRequest("grpc-timeout must be one to eight digits and one of H, M, S, m, u, n.")
    return int(found[1]) * _UNITS[found[2]]


def read_encoding(headers: Mapping[str, str]) -> str:
    """Return how messages may be compressed, one of CODINGS, "" for not at all. Raises RpcFailure for others."""
    encoding = headers.get("grpc-encoding", "identity")
    if encoding != "identity" and encoding not in CODINGS:
        raise RpcFailure(
            Code.UNIMPLEMENTED,
            f"Messages may be compressed with {' or '.join(CODINGS)}, and with nothing else (grpc-encoding).",
        )
    return encoding if encoding in CODINGS else ""


def metadata_of(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata of a call, by lower-case name. Values of names in `-bin` are base64, as they came."""
    return {name: value for name, value in headers.items() if name not in _OURS}
