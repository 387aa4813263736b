"""How a server wants the same body, and how its answer holds the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torchserve.cli.loadgen.checks import Check


def as_it_is(answer: bytes) -> bytes:
    """The answer is the body."""
    return answer


def out_of_tensor(answer: bytes) -> bytes:
    """What Triton's one output of one string holds: behind a JSON object, and four bytes that tell its length."""
    _, end = json.JSONDecoder().raw_decode(answer.decode("latin-1"))
    return answer[end + 4 :]


def in_list(body: bytes) -> bytes:
    """A JSON list with the body, which is JSON, alone in it."""
    return b"[" + body + b"]"


def out_of_list(answer: bytes) -> bytes:
    """The one element of a JSON list. ValueError for anything else."""
    if not (answer[:1] == b"[" and answer[-1:] == b"]"):
        raise ValueError("no JSON list")
    return answer[1:-1]


@dataclass(frozen=True, slots=True)
class ProtocolAdapter:
    """Headers beside the content type, what the body is put into, and where the answer is in an answer.

    `content_type` is what the server insists on.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    unwrap: Callable[[bytes], bytes] = as_it_is
    wrap: Callable[[bytes], bytes] = as_it_is
    content_type: str | None = None

    def kind(self, usual: str) -> str:
        """The content type to send for a body of the `usual` one."""
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
