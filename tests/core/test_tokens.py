"""Tokens: kinds, expiry, renewal, and the key file's shape. Time is a number here."""

from __future__ import annotations

import json
import re
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.tokens import KINDS, Tokens, renewable

TOKENS = Tokens.fresh(60.0, now=1000.0)


def key(tokens: Tokens, kind: str) -> str:
    return json.loads(tokens.as_json())[kind]["key"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_key_opens_its_kind_alone(kind: str) -> None:
    assert [other for other in KINDS if TOKENS.opens(other, key(TOKENS, kind), 1000.0)] == [kind]


@pytest.mark.parametrize("kind", KINDS)
@given(given=st.text(max_size=40))
def test_nothing_else_opens_it(kind: str, given: str) -> None:
    assert not TOKENS.opens(kind, given, 1000.0)
    mine = key(TOKENS, kind)
    for near in (mine + given, given + mine) if given else (mine[:-1], mine.swapcase()):
        assert not TOKENS.opens(kind, near, 1000.0)


@pytest.mark.parametrize(
    ("kind", "now", "open_"),
    [
        ("inference", 1059.9, True), ("inference", 1060.0, False), ("inference", 1e9, False),
        ("management", 1059.9, True), ("management", 1060.0, False),
        ("API", 1060.0, True), ("API", 1e12, True),
    ],
)  # fmt: skip
def test_keys_expire_and_the_api_key_does_not(kind: str, now: float, open_: bool) -> None:
    assert TOKENS.opens(kind, key(TOKENS, kind), now) is open_


@pytest.mark.parametrize("kind", ["inference", "management"])
def test_renewing_replaces_one_key_and_its_time(kind: str) -> None:
    renewed = TOKENS.renewed(kind, now=1050.0)
    assert not renewed.opens(kind, key(TOKENS, kind), 1050.0)
    assert renewed.opens(kind, key(renewed, kind), 1109.9)
    assert not renewed.opens(kind, key(renewed, kind), 1110.0)
    assert all(key(renewed, other) == key(TOKENS, other) for other in KINDS if other != kind)


def test_the_key_file_has_torchserves_shape() -> None:
    shown = json.loads(TOKENS.as_json())
    assert list(shown) == ["management", "inference", "API"]
    assert list(shown["management"]) == list(shown["inference"]) == ["key", "expiration time"]
    assert list(shown["API"]) == ["key"]
    stamp = shown["inference"]["expiration time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", stamp)
    assert datetime.fromisoformat(stamp).timestamp() == 1060.0


def test_keys_are_long_safe_in_a_url_and_all_different() -> None:
    keys = {key(Tokens.fresh(1.0, 0.0), kind) for _ in range(100) for kind in KINDS}
    assert len(keys) == 300
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{32}", each) for each in keys)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("inference", "inference"), ("management", "management"), ("API", None), ("", None), ("Inference", None)],
)
def test_what_can_be_renewed(text: str, kind: str | None) -> None:
    assert renewable(text) == kind
