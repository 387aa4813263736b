"""The wire format of protobuf, as far as it is read and written here without the protobuf library.

The library copies every `bytes` field out of a message, several times where it is large. Requests whose fields are
tensors, images and documents are therefore split into their fields here, and the large ones stay views of the bytes
that came. What is small may go to the library after that. Everything here is pure, and reads a message in linear time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ...core.errors import BadRequest
from ...core.payload import Body

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)
_MOST_FIELDS = 10_000  # of one message: what is read field by field holds up the event loop
_DEEPEST = 100  # groups in groups, protobuf's own limit
_LONGEST = 2**31 - 1  # bytes of a field


class BadMessage(BadRequest):
    """An error for bytes that are no protobuf message of the kind that the method takes."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"The request is not the message that this method takes: {cause}.")


class Field(NamedTuple):
    """A field of a message: its number, wire type, value, and where it begins and ends in the message.

    The value is an int of a varint, and a view of everything else; of a group it is empty.
    """

    number: int
    kind: int
    value: int | memoryview
    begin: int
    end: int


def split(data: memoryview, most: int = _MOST_FIELDS) -> list[Field]:
    """Return the fields of a message of at most `most` fields. Raises BadMessage."""
    found: list[Field] = []
    at, size = 0, len(data)
    while at < size:
        begin = at
        number, kind, at = _tag(data, at, size)
        value: int | memoryview = data[:0]
        if kind == BYTES:
            length, at = varint_at(data, at, size)
            end = at + length
            if length > _LONGEST or end > size:
                raise BadMessage(f"field {number} is cut off")
            value, at = data[at:end], end
        elif kind == VARINT:
            value, at = varint_at(data, at, size)
        else:
            at = _skip(data, at, number, kind)
            value = data[begin:at] if kind == GROUP else data[at - (8 if kind == FIXED64 else 4) : at]
        if len(found) == most:
            raise BadMessage(f"it has more than {most} fields")
        found.append(Field(number, kind, value, begin, at))
    return found


def text(value: int | memoryview, name: str) -> str:
    """Return the text of a string field. Raises BadMessage unless it is UTF-8."""
    try:
        return str(value, "utf-8") if isinstance(value, memoryview) else ""
    except UnicodeDecodeError:
        raise BadMessage(f"{name} is not UTF-8") from None


@lru_cache(maxsize=1024)  # answers of a model are of few sizes
def head_of(number: int, size: int) -> bytes:
    """Return what goes before a field of `size` bytes: its tag and its length."""
    return varint(number << 3 | BYTES) + varint(size)


def bytes_field(number: int, value: bytes) -> bytes:
    """Return a whole field of type bytes, string or message."""
    return head_of(number, len(value)) + value


def varint(value: int) -> bytes:
    """Return a number that is not negative as a varint."""
    if value < 0x80:
        return bytes((value,))
    made = bytearray()
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def varint_at(data: memoryview, at: int, size: int) -> tuple[int, int]:
    """Return the varint at `at` and where it ends. Raises BadMessage."""
    if at < size and data[at] < 0x80:
        return data[at], at + 1
    value = shift = 0
    while at < size and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise BadMessage("a number is cut off or too long")


def _tag(data: memoryview, at: int, size: int) -> tuple[int, int, int]:
    tag, end = varint_at(data, at, size)
    if end - at > 5 or tag > 0xFFFF_FFFF or tag < 8 or tag & 7 > FIXED32:
        raise BadMessage("a field has no valid number or type")
    return tag >> 3, tag & 7, end


def _skip(data: memoryview, at: int, number: int, kind: int) -> int:
    """Return the end of a field's value that begins at `at`, whose type is none of VARINT and BYTES."""
    size = len(data)
    if kind == END_GROUP:
        raise BadMessage("a group ends that has not begun")
    if kind != GROUP:
        at += 8 if kind == FIXED64 else 4
        if at > size:
            raise BadMessage(f"field {number} is cut off")
        return at
    inside = [number]
    while inside:
        number, kind, at = _tag(data, at, size)
        if kind == GROUP:
            inside.append(number)
            if len(inside) > _DEEPEST:
                raise BadMessage(f"more than {_DEEPEST} groups are in each other")
        elif kind == END_GROUP:
            if inside.pop() != number:
                raise BadMessage("a group ends that has not begun")
        elif kind == VARINT:
            _, at = varint_at(data, at, size)
        elif kind == BYTES:
            length, at = varint_at(data, at, size)
            at += length
            if length > _LONGEST or at > size:
                raise BadMessage(f"field {number} is cut off")
        else:
            at = _skip(data, at, number, kind)
    return at


def view(data: Body) -> memoryview:
    """Return a view of plain bytes."""
    return data if isinstance(data, memoryview) else memoryview(data)
