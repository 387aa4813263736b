"""Datatypes: the names that the Open Inference Protocol gives to elements of tensors, and their bytes.

A tensor's raw bytes are its elements in row-major order, little-endian, without padding. An element of BYTES is its
length as an unsigned 32-bit number and then so many bytes. `pack` makes raw bytes of the values that a JSON document or
a protobuf message holds; it is plain Python, since the front end has no numpy. 600 KB of JSON take it some 3 ms, so
that large ones are packed by the workers.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Callable, Generator, Sequence
from itertools import chain
from typing import Any, Final

from ..errors import BadRequest
from ..payload import Body

# Datatype -> bytes of an element; BYTES has no fixed size.
SIZES: Final[dict[str, int]] = {
    "BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8,
    "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8, "BYTES": 0,
}  # fmt: skip
MOST_DIMENSIONS: Final = 32
MOST_ELEMENTS: Final = 2**63 - 1
_WHOLE: Final = {
    "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q",
}  # fmt: skip
_LENGTH: Final = struct.Struct("<I")
_STEP: Final = 8192  # elements of BYTES that are looked at in a turn of the loop
_NO_NUMBERS: Final = frozenset((bool, str, type(None), dict))


def count_of(name: str, shape: Sequence[int]) -> int:
    """Return how many elements a shape has. Raises BadRequest for one that no tensor can have."""
    if len(shape) > MOST_DIMENSIONS:
        raise BadRequest(f"{name} has {len(shape)} dimensions and at most {MOST_DIMENSIONS} are accepted.")
    if any(size < 0 for size in shape):
        raise BadRequest(f"{name} has the shape {shown(shape)}; no dimension may be negative.")
    count = math.prod(shape)
    if count > MOST_ELEMENTS or any(size > MOST_ELEMENTS for size in shape):
        raise BadRequest(f"{name} has a shape of more than {MOST_ELEMENTS} elements.")
    return count


def size_of(name: str, datatype: str) -> int:
    """Return the bytes of an element, 0 for BYTES. Raises BadRequest for an unknown datatype."""
    size = SIZES.get(datatype)
    if size is None:
        raise BadRequest(f"{name} has the datatype {datatype[:40]!r}; the datatypes are {', '.join(SIZES)}.")
    return size


def check_raw(name: str, datatype: str, shape: Sequence[int], size: int) -> None:
    """Raise BadRequest if `size` raw bytes can't be a tensor of this datatype and shape.

    For BYTES this says only whether there is room for the lengths; `check_bytes` reads them.
    """
    count, item = count_of(name, shape), size_of(name, datatype)
    if item and size != count * item:
        raise BadRequest(
            f"{name} has the shape {shown(shape)} of {datatype}, which takes {count * item} bytes, and {size} were"
            " sent."
        )
    if not item and size < count * _LENGTH.size:
        raise BadRequest(
            f"{name} has the shape {shown(shape)} of BYTES, which takes at least {count * _LENGTH.size} bytes for the"
            f" elements' lengths, and {size} were sent."
        )


def check_bytes(name: str, raw: Body, count: int) -> Generator[None, None, None]:
    """Return the steps that read the lengths of `count` elements of BYTES. They raise BadRequest if these lie."""
    view, at, size = memoryview(raw), 0, len(raw)
    for index in range(count):
        if at + _LENGTH.size > size:
            raise BadRequest(f"{name} has {count} elements of BYTES, and its {size} bytes end before element {index}.")
        (length,) = _LENGTH.unpack_from(view, at)
        at += _LENGTH.size + length
        if at > size:
            raise BadRequest(
                f"{name}: element {index} of BYTES says that it has {length} bytes, and {size - at + length} are left."
            )
        if index % _STEP == _STEP - 1:
            yield
    if at != size:
        raise BadRequest(f"{name}: its {count} elements of BYTES take {at} bytes, and {size} were sent.")


def unpack_bytes(name: str, raw: Body, count: int) -> list[bytes]:
    """Return the elements of a tensor of BYTES. Raises BadRequest if their lengths lie."""
    for _ in check_bytes(name, raw, count):
        pass
    view, at = memoryview(raw), 0
    found: list[bytes] = []
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(view, at)
        at += _LENGTH.size + length
        found.append(bytes(view[at - length : at]))
    return found


def pack_bytes(elements: Sequence[bytes]) -> bytes:
    """Return the raw bytes of a tensor of BYTES."""
    return b"".join([piece for each in elements for piece in (_LENGTH.pack(len(each)), each)])


def pack(name: str, datatype: str, shape: Sequence[int], values: Any) -> bytes:
    """Return the raw bytes of a tensor from its values: a flat list, or one that is nested as the shape is.

    A text is an element of BYTES, by its UTF-8. Raises BadRequest for values that don't fit datatype or shape.
    """
    size_of(name, datatype)
    count = count_of(name, shape)
    flat = _flattened(name, shape, values)
    check_count(name, shape, count, len(flat))
    return _pack_flat(name, datatype, flat)


def check_count(name: str, shape: Sequence[int], count: int, found: int) -> None:
    """Raise BadRequest unless a tensor's data have as many elements as its shape, which are `count`."""
    if found != count:
        raise BadRequest(f"{name} has the shape {shown(shape)}, which is {count} elements, and its data has {found}.")


def _pack_flat(name: str, datatype: str, flat: Sequence[Any]) -> bytes:
    kinds = set(map(type, flat))
    if datatype == "BYTES":
        if not kinds <= {str, bytes}:
            raise _wrong(name, datatype, "texts", kinds - {str, bytes})
        return pack_bytes([each.encode() if isinstance(each, str) else each for each in flat])
    if datatype == "BOOL":
        if not kinds <= {bool}:
            raise _wrong(name, datatype, "true and false", kinds - {bool})
        return bytes(flat)
    if kinds & _NO_NUMBERS or (datatype in _WHOLE and kinds - {int}):
        wanted = "whole numbers" if datatype in _WHOLE else "numbers"
        raise _wrong(name, datatype, wanted, kinds - {int} if datatype in _WHOLE else kinds & _NO_NUMBERS)
    try:
        return _FLOATS[datatype](flat) if datatype in _FLOATS else _ordered(array(_WHOLE[datatype], flat))
    except OverflowError:
        raise BadRequest(f"{name} has a number that {datatype} can't hold.") from None
    except (TypeError, struct.error) as error:
        raise BadRequest(f"{name} has a value that is no {datatype}: {error}.") from None


def _ordered(values: array[Any]) -> bytes:
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def _brain(flat: Sequence[float]) -> bytes:
    """Return bfloat16: the upper halves of the floats, rounded to the nearest, ties to even."""
    words = array("I", array("f", flat).tobytes())
    return _ordered(array("H", [_rounded(word) for word in words]))


def _rounded(word: int) -> int:
    if word & 0x7FFFFFFF > 0x7F800000:  # NaN: rounding could make it an infinity
        return (word >> 16) | 0x40
    return (word + 0x7FFF + ((word >> 16) & 1)) >> 16


_FLOATS: Final[dict[str, Callable[[Sequence[float]], bytes]]] = {
    "FP16": lambda flat: struct.pack(f"<{len(flat)}e", *flat),
    "BF16": _brain,
    "FP32": lambda flat: _ordered(array("f", flat)),
    "FP64": lambda flat: _ordered(array("d", flat)),
}


def _flattened(name: str, shape: Sequence[int], values: Any) -> list[Any]:
    if not isinstance(values, list):
        raise BadRequest(f"{name}: its data must be a list, not {_KINDS.get(type(values), 'something else')}.")
    flat, depth = values, 1
    while flat and isinstance(flat[0], list):
        depth += 1
        if depth > max(len(shape), 1):
            raise BadRequest(f"{name} has the shape {shown(shape)} and data that is nested more deeply than that.")
        if set(map(type, flat)) != {list} or len(set(map(len, flat))) > 1:
            raise BadRequest(f"{name}: the lists of its data differ in length or depth.")
        flat = list(chain.from_iterable(flat))
    if list in set(map(type, flat)):
        raise BadRequest(f"{name}: the lists of its data differ in length or depth.")
    return flat


_KINDS: Final[dict[type, str]] = {
    bool: "true or false", str: "text", type(None): "null", dict: "an object", int: "a number", float: "a number",
    list: "a list",
}  # fmt: skip


def _wrong(name: str, datatype: str, wanted: str, kinds: set[type]) -> BadRequest:
    found = " and ".join(sorted({_KINDS.get(kind, kind.__name__) for kind in kinds}))
    return BadRequest(f"{name} is {datatype}, so its data must be {wanted}, and it holds {found}.")


def shown(shape: Sequence[int]) -> str:
    """Return a shape as errors tell it."""
    text = ", ".join(str(size) if abs(size) < 10**19 else f"{str(size)[:20]}…" for size in shape[:MOST_DIMENSIONS])
    return f"[{text}]"
