"""InferHeads and InferTails: what is the same in one ModelInfer after the other, read and written once.

A client that asks a model again and again sends the same message each time, but for its id and the bytes of its
tensors, and the model's answers differ in no more. To read and check names, shapes and parameters takes many times as
long as all else that the message needs, so that what came before is known by its bytes. A message of which the part
that is remembered is equal byte by byte means the same; any other is read in full.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from ...core.oip.datatypes import SIZES, count_of
from ...core.payload import Body, Infer, TensorHead
from .wire import BadMessage, head_of, varint_at

_MOST = 128  # heads, and tails, that a method remembers
LONGEST = 4096  # bytes of each
_ID, _RAW = 0x1A, 0x3A  # tags of ModelInferRequest
_OTHERS = frozenset((0x0A, 0x12, 0x22, 0x2A, 0x32))  # its other fields: all have a length
_LENGTH = 4  # bytes before an element of BYTES

_Known = TypeVar("_Known")


class Known(Generic[_Known]):
    """A memory of what was read or written, by the bytes that it depends on, or by how many they are.

    All is forgotten when it is too much. `get` returns what is known by these bytes, or this number of bytes, or None.
    """

    __slots__ = ("_known", "get")

    def __init__(self) -> None:
        self._known: dict[bytes | int, _Known] = {}
        self.get: Callable[[bytes | int], _Known | None] = self._known.get  # each message asks: no call in between

    def put(self, key: bytes | int, known: _Known, size: int) -> None:
        """Remember this, of which the key and what is known take `size` bytes, unless that is long."""
        if size > LONGEST:
            return
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[key] = known

    def __len__(self) -> int:
        return len(self._known)


@dataclass(frozen=True, slots=True)
class InferHead:
    """A checked request without its id and its tensors' bytes, of which `sizes` are the numbers; of BYTES the least."""

    model: str
    version: str | None
    infer: Infer
    sizes: tuple[int, ...]

    def fits(self, raw: list[memoryview]) -> bool:
        """Return whether these can be the raw bytes of the tensors."""
        if len(raw) != len(self.sizes):
            return False
        for head, size, each in zip(self.infer.inputs, self.sizes, raw, strict=True):
            if len(each) != size and (head.datatype != "BYTES" or len(each) < size):
                return False
        return True


def sizes_of(heads: tuple[TensorHead, ...]) -> tuple[int, ...]:
    """Return the numbers of raw bytes of tensors whose datatypes and shapes were checked; of BYTES the least."""
    return tuple([count_of(each.name, each.shape) * (SIZES[each.datatype] or _LENGTH) for each in heads])


class CutRequest(NamedTuple):
    """A ModelInferRequest in parts: all but the id and the raw contents, the id, and the raw contents; and where the
    text of the id and the raw contents begin and end. Without an id that is at (0, 0).
    """

    head: bytes
    id: str
    raw: list[memoryview]
    id_at: tuple[int, int]
    raw_at: list[tuple[int, int]]


def cut(data: memoryview) -> CutRequest | None:
    """Return the parts of a message whose raw contents are there and come last, as every library writes it; else None.

    What is wrong with a message is not said here.
    """
    raw: list[memoryview] = []
    places: list[tuple[int, int]] = []
    at, size = 0, len(data)
    id_begin = id_text = id_end = 0
    head_end = -1
    named = ""
    try:
        while at < size:
            begin, tag = at, data[at]
            length, at = varint_at(data, at + 1, size)
            end = at + length
            if end > size:
                return None
            if tag == _RAW:
                if head_end < 0:
                    head_end = begin
                raw.append(data[at:end])
                places.append((at, end))
            elif head_end >= 0:
                return None
            elif tag == _ID:
                if id_end:
                    return None
                named, id_begin, id_text, id_end = str(data[at:end], "utf-8"), begin, at, end
            elif tag not in _OTHERS:
                return None
            at = end
    except (BadMessage, UnicodeDecodeError):
        return None
    if head_end < 0:
        return None
    head = bytes(data[:id_begin]) + bytes(data[id_end:head_end])
    return CutRequest(head, named, raw, (id_text, id_end), places)


def raw_at(beginning: memoryview) -> int:
    """Return where the first raw contents of a message begin; 0 if that is not in its beginning."""
    at, size = 0, len(beginning)
    try:
        while at < size:
            tag = beginning[at]
            length, at = varint_at(beginning, at + 1, size)
            if tag == _RAW:
                return at
            if tag != _ID and tag not in _OTHERS:
                return 0
            at += length
    except BadMessage:
        pass
    return 0


class InferLayout(NamedTuple):
    """The layout of a message whose head is known: one of as many bytes that is equal outside of its id and its raw
    contents means the same but for these.

    `same` are the places of all that has to be equal, and what is there.
    """

    head: InferHead
    id: tuple[int, int]
    raw: tuple[tuple[int, int], ...]
    same: tuple[tuple[int, int, bytes], ...]


def layout_of(data: memoryview, parts: CutRequest, head: InferHead) -> InferLayout:
    """Return the layout of a message, of which these are the parts."""
    raw: list[tuple[int, int]] = []
    same: list[tuple[int, int, bytes]] = []
    ends, at = parts.id_at[1], 0
    if ends:
        same.append((0, parts.id_at[0], bytes(data[: parts.id_at[0]])))
        at = ends
    for begin, end in parts.raw_at:
        same.append((at, begin, bytes(data[at:begin])))
        raw.append((begin, end))
        at = end
    return InferLayout(head, parts.id_at, tuple(raw), tuple(same))


@dataclass(frozen=True, slots=True)
class InferTail:
    """A ModelInferResponse without its raw contents, and what goes before each of these, with its number of bytes."""

    head: bytes
    raw: tuple[tuple[bytes, int], ...]
    size: int

    def message(self, contents: memoryview) -> tuple[Body, ...]:
        """Return the message with these raw contents, one behind the other."""
        buffers: list[Body] = [self.head]
        at = 0
        for before, size in self.raw:
            buffers += (before, contents[at : at + size])
            at += size
        return tuple(buffers)


def tail_of(head: bytes, number: int, sizes: list[int]) -> InferTail:
    """Return the message with this head, whose raw contents have the field `number` and these sizes."""
    return InferTail(head, tuple([(head_of(number, each), each) for each in sizes]), sum(sizes))
