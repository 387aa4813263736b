"""What is kept, for how long and in how much memory; and what makes two requests alike. No clock is read."""

from __future__ import annotations

from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from torchserve.core.config.cache_options import CacheOptions
from torchserve.core.models.cache_key import LARGEST, cache_key
from torchserve.core.models.response_cache import ResponseCache, wishes
from torchserve.core.payload import Infer, Part, Payload, Reply


def headers(reply: Reply | None) -> dict[str, str]:
    assert reply is not None
    return dict(reply.headers)


def test_an_answer_is_kept_for_its_time_and_says_for_how_long() -> None:
    cache = ResponseCache(CacheOptions(60.0))
    view = memoryview(bytearray(b"answer"))
    first = cache.put(b"k", Reply(view, headers=(("a", "b"),)), 100.0)
    view[:] = b"xxxxxx"  # its worker has the memory back
    tag = headers(first)["ETag"]
    assert tag.startswith('W/"')
    assert headers(first) == {
        "a": "b",
        "ETag": tag,
        "Cache-Control": "private, max-age=60",
        "x-torchserve-cache": "miss",
    }
    found = cache.get(b"k", 130.5)
    assert found is not None
    assert found.body == b"answer"
    assert headers(found) == {
        "a": "b",
        "ETag": tag,
        "Cache-Control": "private, max-age=29",
        "x-torchserve-cache": "hit",
    }
    assert cache.get(b"other", 130.5) is None
    assert cache.get(b"k", 160.0) is None
    assert (len(cache), cache.bytes) == (0, 0)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"", 404),
        Reply(b"", 500),
        Reply(b"", 201),
        Reply(b"", headers=(("Set-Cookie", "a=b"),)),
        Reply(b"", headers=(("cache-control", "max-age=5, Private"),)),
        Reply(b"", headers=(("Cache-Control", "no-store"),)),
        Reply(b"", headers=(("Vary", "accept, *"),)),
        Reply(bytes(1000)),
    ],
)
def test_errors_and_what_is_for_one_client_or_too_large_are_not_kept(reply: Reply) -> None:
    cache = ResponseCache(CacheOptions(60.0, 1000))
    told = cache.put(b"k", reply, 0.0)
    assert cache.get(b"k", 0.0) is None
    assert "ETag" not in headers(told)
    assert headers(told)["x-torchserve-cache"] == "miss"


def test_a_handlers_own_etag_and_cache_control_stay_and_it_can_not_say_that_it_was_a_hit() -> None:
    cache = ResponseCache(CacheOptions(60.0))
    mine = (("etag", '"7"'), ("Cache-Control", "max-age=5"), ("X-TorchServe-Cache", "hit"))
    assert headers(cache.put(b"k", Reply(b"", headers=mine), 0.0)) == {
        "etag": '"7"', "Cache-Control": "max-age=5", "x-torchserve-cache": "miss",
    }  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 400), st.booleans()), max_size=60))
def test_the_least_recently_used_go_first_and_memory_stays_within_its_bound(steps: list[tuple[str, int, bool]]) -> None:
    cache = ResponseCache(CacheOptions(60.0, 2000))
    kept: OrderedDict[str, int] = OrderedDict()  # a plain model: sizes by key, the oldest first
    for key, size, is_put in steps:
        if is_put:
            cache.put(key.encode(), Reply(bytes(size)), 0.0)
            kept.pop(key, None)
            kept[key] = size + 512
            while sum(kept.values()) > 2000:
                kept.popitem(last=False)
        else:
            assert (cache.get(key.encode(), 0.0) is not None) == (key in kept)
            if key in kept:
                kept.move_to_end(key)
        assert (len(cache), cache.bytes) == (len(kept), sum(kept.values()))
        assert cache.bytes <= 2000
    assert cache.purge() == len(kept)
    assert cache.bytes == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", (True, True)),
        ("No-Cache", (False, True)),
        ("max-age=0,no-store", (False, False)),
        ("x" * 9999, (True, True)),
    ],
)
def test_a_client_says_whether_it_takes_what_is_kept(value: str, expected: tuple[bool, bool]) -> None:
    assert wishes(value) == expected


PLAIN = Payload("1", (Part("body", "text/plain", b"x"),), {"Content-Type": "text/plain"})


def key(payload: Payload, *named: str) -> bytes:
    found = cache_key(payload, named)
    assert found is not None
    return found[0]


@pytest.mark.parametrize(
    "other",
    [
        replace(PLAIN, parts=(Part("body", "text/plain", b"y"),)),
        replace(PLAIN, parts=(Part("body", "", b"x"),)),
        replace(PLAIN, parts=(Part("data", "text/plain", b"x"),)),
        replace(PLAIN, parts=(*PLAIN.parts, Part("", "", b""))),
        replace(PLAIN, infer=Infer(id="1")),
        *(
            replace(PLAIN, headers={**PLAIN.headers, name: "1"})
            for name in (
                "Authorization",
                "authorization",
                "Cookie",
                "X-API-Key",
                "Accept",
                "explain",
                "url_path",
                "x-mine",
            )
        ),
    ],
)
def test_another_input_client_or_purpose_is_another_key(other: Payload) -> None:
    assert key(PLAIN, "x-mine") != key(other, "x-mine")


def test_what_the_handler_does_not_see_is_not_in_the_key() -> None:
    sent = {**PLAIN.headers, "X-Forwarded-Host": "evil.example", "describe": "True", "x-mine": "1", "traceparent": "00"}
    tricked = replace(PLAIN, request_id="2", priority=3, timeout=1.0, headers=sent)
    assert key(tricked) == key(PLAIN)
    found = cache_key(tricked, ())
    assert found is not None
    assert found[1].headers == PLAIN.headers
    named = cache_key(tricked, ("x-mine",))
    assert named is not None
    assert named[1].headers == {**PLAIN.headers, "x-mine": "1"}


def test_a_forms_boundary_is_not_in_the_key() -> None:
    def form(boundary: str, length: str) -> Payload:
        said = {"content-type": f"multipart/form-data; boundary={boundary}", "content-length": length}
        return replace(PLAIN, headers=said)

    assert key(form("a", "10")) == key(form("bcd", "12"))


@given(st.lists(st.binary(max_size=3), max_size=3), st.lists(st.binary(max_size=3), max_size=3))
def test_bodies_can_not_be_cut_otherwise_into_the_same_key(one: list[bytes], two: list[bytes]) -> None:
    first, second = (replace(PLAIN, parts=tuple(Part("", "", each) for each in parts)) for parts in (one, two))
    assert (key(first) == key(second)) == (one == two)


def test_a_large_request_has_no_key() -> None:
    assert cache_key(replace(PLAIN, parts=(Part("", "", bytes(LARGEST)), Part("", "", b"x"))), ()) is None
