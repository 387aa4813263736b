"""Which pieces of an answer go to the front without their heads: those that are like the piece before them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..handlers.context import RequestProcessor
from ..payload import Infer

_LARGEST = 4096  # bytes; larger ones may have memory of their own


def further_piece(
    processors: Sequence[RequestProcessor], elements: Sequence[Any], code: int, most: int
) -> bytes | None:
    """Return the bytes of an intermediate response to one request, if it has the head of the one before and is small;
    else None.

    `most` is the bytes that a response may have.
    """
    if len(processors) != 1 or len(elements) != 1 or code != 200:
        return None
    element, head = elements[0], processors[0].sent_head
    if head is None or processors[0].response_head() != head:
        return None
    if type(element) is str and len(element) <= _LARGEST:
        try:
            element = element.encode()
        except UnicodeEncodeError:  # refused where any response is
            return None
    return element if type(element) is bytes and len(element) <= min(_LARGEST, most) else None


def remember_head(processors: Sequence[RequestProcessor], infers: Sequence[Infer | None], code: int) -> None:
    """Remember what the piece that was sent last had for its head, where further ones may go without."""
    plain = len(processors) == 1 and code == 200 and infers[0] is None
    processors[0].sent_head = processors[0].response_head() if plain else None
