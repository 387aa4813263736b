"""Header blocks: what is encoded once reads everywhere, and a block that is known means what it meant."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.http.message.limits import Http2Limits
from torchserve.http.transport.http2.errors import StreamFault
from torchserve.http.transport.http2.header_block import BlockDecoder, encode_block
from torchserve.http.transport.http2.request_head import read_head

NAMES = st.sampled_from([":status", "content-type", "x-a", "grpc-status", "n" * 200]) | st.text("abc-", min_size=1)
VALUES = st.sampled_from(["200", "application/grpc", ""]) | st.text(st.characters(max_codepoint=255), max_size=300)
REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "here")]


@given(st.lists(st.tuples(NAMES, VALUES), max_size=10))
def test_what_is_encoded_is_read_by_others(fields: list[tuple[str, str]]) -> None:
    read = hpack.Decoder(max_header_list_size=10**9).decode(encode_block(fields), raw=True)
    assert [(bytes(name), bytes(value)) for name, value in read] == [
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in fields
    ]


def test_a_character_beyond_latin_1_becomes_a_question_mark() -> None:
    assert list(hpack.Decoder().decode(encode_block([("a", "é€")]), raw=True)) == [(b"a", b"\xe9?")]


def decoder() -> BlockDecoder:
    return BlockDecoder(Http2Limits(), max_fields=128, max_field=8192)


def test_a_block_that_comes_again_is_the_same_head() -> None:
    made, encoder = decoder(), hpack.Encoder()
    blocks = [encoder.encode([*REQUEST, ("a", "b")]) for _ in range(4)]
    heads = [made.head(block) for block in blocks]
    assert blocks[1] == blocks[2]
    assert heads[1] is heads[2] is heads[3]  # the first one has changed the table
    heads[3].memo = "read"
    assert made.head(blocks[3]).memo == "read"


@pytest.mark.parametrize("size", [4096, 120, 0])
def test_a_known_block_is_forgotten_when_the_table_changes(size: int) -> None:
    made, encoder = decoder(), hpack.Encoder()
    encoder.header_table_size = size
    for number in range(300):
        fields = [*REQUEST, ("a", str(number // 7 % 5)), ("b", str(number // 3 % 4))]
        assert list(made.head(encoder.encode(fields)).fields) == fields[4:]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "x", "y" * 60])), max_size=6), st.data())
def test_whatever_a_client_indexes_each_head_is_read_right(first: list[tuple[str, str]], drawn: st.DataObject) -> None:
    made, encoder = decoder(), hpack.Encoder()
    for _ in range(12):
        if drawn.draw(st.booleans()):
            encoder.header_table_size = drawn.draw(st.sampled_from([0, 70, 130, 4096]))
        fields = drawn.draw(st.just(first) | st.permutations(first))
        block = encoder.encode([*REQUEST, *fields], huffman=drawn.draw(st.booleans()))
        assert list(made.head(block).fields) == list(fields)


@pytest.mark.parametrize("size", [b"", b"\x3f\x03"])  # of the table: room for 120 entries of this size, or for one
def test_a_block_means_another_field_once_the_table_has_another_one(size: bytes) -> None:
    made, base = decoder(), encode_block(REQUEST)
    newest = base + b"\xbe"
    for value in (b"1", b"2", b"1"):
        made.head(size + base + b"\x40\x01a\x01" + value)
        size = b""
        assert [made.head(newest).headers["a"] for _ in range(2)] == [value.decode()] * 2


TIMEOUTS = st.sampled_from(["1S", "2S", "1000u", "2000u", "100000000u", "S", "-1S", "9" * 20 + "S", "1 S", ""])


@given(st.lists(st.tuples(TIMEOUTS, st.sampled_from(["x", "y"]), st.integers(0, 3)), max_size=12), st.booleans())
def test_a_head_that_differs_in_its_deadline_alone_is_what_reading_it_gives(
    asked: list[tuple[str, str, int]], twice: bool
) -> None:
    made, encoder = decoder(), hpack.Encoder()
    for timeout, other, place in asked:
        fields = [("a", other), ("te", "trailers"), ("b", "c")]
        fields.insert(place, ("grpc-timeout", timeout))
        if twice:
            fields.append(("grpc-timeout", "7S"))
        block = encoder.encode([*REQUEST, *fields])
        try:
            fresh = read_head([(n.encode(), v.encode()) for n, v in (*REQUEST, *fields)], 65536, 128, 8192)
        except StreamFault:
            with pytest.raises(StreamFault):
                made.head(block)
            continue
        head = made.head(block)
        for name in ("method", "path", "scheme", "authority", "fields", "headers", "length"):
            assert getattr(head, name) == getattr(fresh, name), name


def test_a_head_with_another_deadline_knows_the_one_before() -> None:
    made, encoder = decoder(), hpack.Encoder()
    first, second, longer = (
        made.head(encoder.encode([*REQUEST, ("grpc-timeout", text), ("a", "b")])) for text in ("10u", "20u", "100u")
    )
    first.memo = "read"
    assert second.like is first
    assert (second.memo, second.headers["grpc-timeout"], first.headers["grpc-timeout"]) == (None, "20u", "10u")
    assert longer.like is None, "its list is longer, and has yet to be held against the limits"
