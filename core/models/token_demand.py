"""Reads what a request asks of a language model in tokens, as far as that shows without a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ...scheduler.tokens import TokenDemand
from ..payload import Payload

_MOST_TOKENS = 2**31 - 1
_NOTHING = b""


class _Asked(msgspec.Struct):
    """The fields of OpenAI's bodies that say how much is asked for. msgspec skips the others without making objects.

    They are of any type here: the handler refuses what is wrong, and names it.
    """

    prompt: msgspec.Raw = msgspec.Raw(_NOTHING)
    n: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None


_ASKED = msgspec.json.Decoder(_Asked)
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


def demand_of(payload: Payload, most_sequences: int) -> TokenDemand | None:
    """Return the tokens that a request asks for.

    None for a request that the handler is going to refuse, because it can't be read or asks for more than
    `most_sequences`: it waits for no memory.
    """
    body = payload.parts[0].body if payload.parts else _NOTHING
    try:
        asked = _ASKED.decode(body)
        size, tokens, prompts = _prompt(bytes(asked.prompt)) if asked.prompt else (len(body), None, 1)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    completion = asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens
    if not all(each is None or _is_count(each) for each in (asked.n, completion)):
        return None
    copies = asked.n or 1
    if copies * prompts > most_sequences:
        return None
    return TokenDemand(size, tokens, completion, sequences=copies * prompts, copies=copies)


def _prompt(raw: bytes) -> tuple[int, int | None, int]:
    """Return the bytes of the prompts, their tokens if they are given as tokens, and how many prompts there are."""
    if raw[:1] != b"[":
        return len(raw), None, 1
    items = _ITEMS.decode(raw)
    if not items:
        return 0, None, 1
    first = bytes(items[0])[:1]
    if first == b"[":
        return len(raw), sum(len(_ITEMS.decode(each)) for each in items if bytes(each)[:1] == b"["), len(items)
    return (len(raw), None, len(items)) if first == b'"' else (len(raw), len(items), 1)


def _is_count(value: object) -> bool:
    return type(value) is int and 1 <= value <= _MOST_TOKENS


def client_of(headers: Mapping[str, str], header: str) -> str:
    """Return what names the client of a request: the value of `header`, which is lower-case; "" if it has none."""
    return next((value for name, value in headers.items() if name.lower() == header), "")
