"""How a server of another kind wants a body, and where in its response the answer is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torchserve.cli.loadgen.checks import Check


def as_it_is(answer: bytes) -> bytes:
    """Return the response's body unchanged."""
    return answer


def out_of_tensor(answer: bytes) -> bytes:
    """Return the only string of Triton's only output, which follows a JSON object and four bytes with its length."""
    _, end = json.JSONDecoder().raw_decode(answer.decode("latin-1"))
    return answer[end + 4 :]


def in_list(body: bytes) -> bytes:
    """Return a JSON list whose only item is `body`, which must be JSON."""
    return b"[" + body + b"]"


def out_of_list(answer: bytes) -> bytes:
    """Return the only item of a JSON list. Raises ValueError for anything else."""
    if not (answer[:1] == b"[" and answer[-1:] == b"]"):
        raise ValueError("no JSON list")
    return answer[1:-1]


@dataclass(frozen=True, slots=True)
class ProtocolAdapter:
    """An adapter to a server's protocol.

    `headers` are sent with each request, `wrap` makes the body that is sent, `unwrap` finds the answer in a response,
    and `content_type` is set if the server accepts no other.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    unwrap: Callable[[bytes], bytes] = as_it_is
    wrap: Callable[[bytes], bytes] = as_it_is
    content_type: str | None = None

    def kind(self, usual: str) -> str:
        """Return the content type to send for a body whose own type is `usual`."""
        return self.content_type or usual


PLAIN = ProtocolAdapter()
JSON_LISTS = ProtocolAdapter(unwrap=out_of_list, wrap=in_list, content_type="application/json")
# A header length of 0 tells Triton that the whole body is the one input tensor.
RAW_TENSORS = ProtocolAdapter({"Inference-Header-Content-Length": "0"}, out_of_tensor)


@dataclass(frozen=True, slots=True)
class UnwrappedCheck:
    """A check of the answer that `unwrap` finds in a response. A response in which it finds none is wrong."""

    check: Check
    unwrap: Callable[[bytes], bytes]

    def __call__(self, place: int, body: bytes, answer: bytes) -> bool:
        try:
            return self.check(place, body, self.unwrap(answer))
        except ValueError:
            return False
