"""Header blocks of HPACK (RFC 7541): `encode_block` writes them, BlockDecoder reads them.

What is written does not refer to a dynamic table, so that a block is the same on every connection and can be encoded
once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias, cast

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from ...message.limits import Http2Limits
from .errors import ConnectionFault, ErrorCode
from .request_head import read_head, read_trailers
from .stream import Fields, RequestHead

RawFields: TypeAlias = "tuple[tuple[bytes, bytes], ...]"

_ANSWERABLE = 2  # times the longest header list: longer ones end the connection
_LONGEST_KNOWN = 2048  # bytes of a header block whose head is remembered
_MOST_KNOWN = 64  # heads that a connection remembers
_TIMEOUT = b"grpc-timeout"
_PLAIN_TIMEOUT = re.compile(rb"[0-9]{1,8}[HMSmun]")

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


class BlockDecoder:
    """A decoder of the header blocks of one connection, which remembers the heads of blocks that came before.

    A block whose decoding leaves the dynamic table as it was means the same until the table changes: most clients send
    the same block for each request. `limits` bound what one block may expand to, and the fields of a head. `known`
    returns the head that a block is remembered with, or None.
    """

    __slots__ = ("_decoder", "_heads", "_limits", "_max_field", "_max_fields", "_timed", "known")

    def __init__(self, limits: Http2Limits, max_fields: int, max_field: int) -> None:
        self._limits = limits
        self._max_fields = max_fields
        self._max_field = max_field
        # A list may be over the limit that a client is told, and then still has an answer that says so.
        self._decoder = Decoder(max_header_list_size=limits.max_header_list * _ANSWERABLE)
        self._heads: dict[bytes, RequestHead] = {}
        self.known: Callable[[bytes], RequestHead | None] = self._heads.get
        self._timed: dict[RawFields, RequestHead] = {}

    def head(self, block: bytes) -> RequestHead:
        """Return the head of a request. Raises ConnectionFault, and StreamFault or RefusedHead as `read_head` does."""
        head = self._heads.get(block)
        if head is not None:
            return head
        before = _TableState(self._decoder.header_table)
        fields = self.skip(block)
        same = before.same()
        head = self._read(fields)
        if same and len(block) <= _LONGEST_KNOWN:
            if len(self._heads) >= _MOST_KNOWN:
                self._heads.clear()
            self._heads[block] = head
        return head

    def _read(self, fields: list[tuple[bytes, bytes]]) -> RequestHead:
        """Read a list as the head of a request, or as one that came before with another deadline.

        Clients of gRPC in Go and Java send what is left of a deadline, another number with each call, and everything
        else as before; the block is then never the same.
        """
        places = [at for at, (name, _) in enumerate(fields) if name == _TIMEOUT]
        if len(places) != 1:
            return read_head(fields, self._limits.max_header_list, self._max_fields, self._max_field)
        (at,) = places
        value = fields[at][1]
        # A value of the same length: the limits then hold for this list as they did for the other.
        key = (*fields[:at], (_TIMEOUT, bytes(len(value))), *fields[at + 1 :])
        like = self._timed.get(key)
        if like is not None and _PLAIN_TIMEOUT.fullmatch(value):
            return like.with_value(len(like.fields) - (len(fields) - at), value.decode("ascii"))
        head = read_head(fields, self._limits.max_header_list, self._max_fields, self._max_field)
        if sum([len(name) + len(value) for name, value in fields]) <= _LONGEST_KNOWN:
            if len(self._timed) >= _MOST_KNOWN:
                self._timed.clear()
            self._timed[key] = head
        return head

    def trailers(self, block: bytes) -> tuple[tuple[str, str], ...]:
        """Return the fields behind a body. Raises as `head` does."""
        return read_trailers(self.skip(block), self._limits.max_header_list)

    def skip(self, block: bytes) -> list[tuple[bytes, bytes]]:
        """Decode a block for what it does to the table, and return its fields.

        Raises ConnectionFault: after an error the table is not the client's any more.
        """
        before = _TableState(self._decoder.header_table)
        try:
            decoded = self._decoder.decode(block, raw=True)
        except OversizedHeaderListError as error:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header block expands to too much") from error
        except (HPACKError, IndexError, ValueError, OverflowError) as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "a header block can't be decoded") from error
        if not before.same():
            self._heads.clear()
        return cast("list[tuple[bytes, bytes]]", decoded)


class _TableState:
    """The state of a dynamic table, to see whether a block has changed it.

    The newest entry is compared by identity: a new entry may be equal to one that was evicted for it.
    """

    __slots__ = ("_count", "_newest", "_size", "_table")

    def __init__(self, table: HeaderTable) -> None:
        self._table = table
        entries = table.dynamic_entries
        self._count, self._size = len(entries), table.maxsize
        self._newest = entries[0] if entries else None

    def same(self) -> bool:
        """Return whether the table is as it was."""
        entries = self._table.dynamic_entries
        if len(entries) != self._count or self._table.maxsize != self._size:
            return False
        return not entries or entries[0] is self._newest
