"""The graceful end of a connection: two GOAWAY, and nothing is lost between them."""

from __future__ import annotations

from torchserve.http.transport.http2.errors import ErrorCode as Code
from torchserve.http.transport.http2.frames import ACK, GOAWAY, PING, RST_STREAM, frame

from .harness import REQUEST, Harness, headers, only


def last(harness: Harness) -> list[int]:
    return [int.from_bytes(each.payload[:4], "big") for each in harness.sent if each.kind == GOAWAY]


def test_requests_that_are_on_their_way_are_served() -> None:
    harness = Harness()
    first = harness.request(1)
    harness.connection.drain()
    ping = only(harness.out(), PING)
    assert last(harness) == [2**31 - 1]
    second = harness.request(3)
    assert second.stream.draining
    harness.say(frame(PING, ACK, 0, ping.payload))
    assert last(harness) == [2**31 - 1, 3]
    assert not harness.connection.done
    first.answer(b"x")
    second.answer(b"y")
    assert harness.connection.done
    assert harness.goaway is Code.NO_ERROR


def test_requests_behind_the_last_one_are_refused() -> None:
    harness = Harness()
    harness.request(1)
    harness.connection.drain()
    ping = only(harness.out(), PING)
    harness.say(frame(PING, ACK, 0, ping.payload))
    assert only(harness.say(headers(3, *REQUEST)), RST_STREAM).code is Code.REFUSED_STREAM
    assert 3 not in harness.handlers


def test_a_client_that_does_not_answer_has_a_second() -> None:
    harness = Harness()
    harness.connection.drain()
    harness.look(0.5)
    assert harness.connection.settling
    assert not harness.connection.done
    harness.look(0.6)
    assert last(harness) == [2**31 - 1, 0]
    assert harness.connection.done


def test_another_ping_is_no_answer_and_a_second_drain_is_none() -> None:
    harness = Harness()
    harness.connection.drain()
    harness.connection.drain()
    harness.out()
    harness.say(frame(PING, ACK, 0, b"whatever"))
    assert last(harness) == [2**31 - 1]


def test_the_clients_goaway_ends_the_connection_behind_its_streams() -> None:
    harness = Harness()
    handler = harness.request(1)
    harness.say(frame(GOAWAY, 0, 0, bytes(8)))
    assert not harness.connection.done
    handler.answer(b"x")
    assert harness.connection.done


def test_a_connection_is_idle_from_its_last_answer_on() -> None:
    harness = Harness()
    assert harness.connection.idle_since == 0.0
    harness.now = 5.0
    handler = harness.request(1)
    assert harness.connection.idle_since is None
    handler.answer()
    assert harness.connection.idle_since == 5.0
    harness.say(frame(PING, 0, 0, bytes(8))[:5])
    assert harness.connection.idle_since is None


def test_closing_tells_the_client_what_was_looked_at() -> None:
    harness = Harness()
    handler = harness.request(1)
    harness.connection.close()
    harness.out()
    assert last(harness) == [1]
    assert handler.calls[-1] == "aborted"
    assert harness.connection.done
