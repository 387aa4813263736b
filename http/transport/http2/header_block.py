"""Header blocks of HPACK (RFC 7541): `encode_block` writes them, BlockDecoder reads them.

What is written does not refer to a dynamic table, so that a block is the same on every connection and can be encoded
once.
"""

from __future__ import annotations

from typing import cast

from hpack.table import HeaderTable

from .stream import Fields

# The static table: the index of a field, and the lowest index of its name.
_FIELD_INDEX: dict[tuple[bytes, bytes], int] = {}
_NAME_INDEX: dict[bytes, int] = {}
for _at, _entry in enumerate(cast("tuple[tuple[bytes, bytes], ...]", HeaderTable.STATIC_TABLE), 1):
    _ = _FIELD_INDEX.setdefault(_entry, _at)
    _ = _NAME_INDEX.setdefault(_entry[0], _at)


def encode_block(fields: Fields) -> bytes:
    """Return the header block of these fields, whose names must be in lower case. Text is encoded as Latin-1.

    A character beyond Latin-1 becomes a question mark, as in an HTTP/1.1 answer.
    """
    block = bytearray()
    for name, value in ((_encoded(name), _encoded(value)) for name, value in fields):
        index = _FIELD_INDEX.get((name, value))
        if index is not None:
            block.append(0x80 | index)  # all 61 fit into the seven bits
            continue
        index = _NAME_INDEX.get(name, 0)  # a literal that is not to be put into the table; its name by index or as text
        block += _integer(index, 4)
        if not index:
            block += _integer(len(name), 7) + name
        block += _integer(len(value), 7) + value
    return bytes(block)


def _encoded(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1", "replace")


def _integer(value: int, bits: int) -> bytes:
    """Return an integer with a prefix of `bits` bits, whose other bits are zero (RFC 7541, section 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((value,))
    made = bytearray((most,))
    value -= most
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)
