"""TlsRecords: of any pieces that are sent either way, each byte arrives as it was, however the records are torn."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.backend.secure_stream import FRONT, context_of
from torchserve.core.wire.remote_messages import Ticket
from torchserve.core.wire.tls_records import TlsRecords
from torchserve.core.workers.remote.one_time_keys import OneTimeKeys

KEYS = OneTimeKeys()


def ends(known: OneTimeKeys = KEYS) -> tuple[TlsRecords, TlsRecords]:
    """Return a client that trusts `known`, and a server."""
    key = KEYS.issue("W-1")
    ticket = Ticket("W-1", 1, "", 0, "", known.authority, key.certificate, key.key)
    return TlsRecords(context_of(ticket), FRONT), TlsRecords(KEYS.context)


def connected() -> tuple[TlsRecords, TlsRecords]:
    client, server = ends()
    done = [client.shake_hands(), False]
    while not all(done):
        server.feed(client.take())
        done[1] = done[1] or server.shake_hands()
        client.feed(server.take())
        done[0] = done[0] or client.shake_hands()
    return client, server


@given(st.lists(st.binary(min_size=1, max_size=50_000), max_size=6), st.lists(st.integers(1, 40_000), min_size=1))
def test_what_is_sent_arrives_in_any_pieces(sent: list[bytes], torn: list[int]) -> None:
    for this, other in (connected(), connected()[::-1]):
        for piece in sent:
            this.encrypt(piece)
        records, received, room = this.take(), bytearray(), memoryview(bytearray(30_000))
        at = turn = 0
        while at < len(records):
            size = torn[turn % len(torn)]
            other.feed(records[at : at + size])
            at, turn = at + size, turn + 1
            while count := other.decrypt_into(room):
                received += room[:count]
        assert received == b"".join(sent)
        assert not other.ended


def test_a_small_buffer_gets_what_fits() -> None:
    client, server = connected()
    client.encrypt(b"abcdef")
    server.feed(client.take())
    room = memoryview(bytearray(4))
    assert [bytes(room[: server.decrypt_into(room)]) for _ in range(3)] == [b"abcd", b"ef", b""]


def test_an_end_is_told_or_noticed() -> None:
    client, server = connected()
    client.encrypt(b"last")
    client.end()
    server.feed(client.take())
    room = memoryview(bytearray(100))
    assert bytes(room[: server.decrypt_into(room)]) == b"last"
    assert server.ended
    server.encrypt(b"cut")
    client.feed(server.take())
    client.feed_end()
    assert bytes(room[: client.decrypt_into(room)]) == b"cut"
    assert client.ended


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"TSW1" + b"\xff" * 12])
def test_who_speaks_no_tls_is_refused(garbage: bytes) -> None:
    _, server = ends()
    server.feed(garbage)
    with pytest.raises(ssl.SSLError):
        server.shake_hands()


def test_a_front_of_other_keys_is_refused() -> None:
    client, server = ends(OneTimeKeys())
    client.shake_hands()
    server.feed(client.take())
    server.shake_hands()
    client.feed(server.take())
    with pytest.raises(ssl.SSLCertVerificationError):
        client.shake_hands()


def test_a_record_that_was_changed_on_the_way_is_refused() -> None:
    client, server = connected()
    client.encrypt(b"body")
    record = bytearray(client.take())
    record[-1] ^= 1
    server.feed(record)
    with pytest.raises(ssl.SSLError):
        server.decrypt_into(memoryview(bytearray(100)))
