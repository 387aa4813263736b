"""The section `cache`: what is wrong with it is said, and then nothing is kept."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.config.cache_options import CacheOptions, read_cache
from torchserve.core.config.model_options import Requested, resolve_options
from torchserve.core.config.settings import Settings


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"ttl": 60}, CacheOptions(60.0)),
        ({"ttl": 0.5, "maxBytes": "1.5KiB", "key": "body"}, CacheOptions(0.5, 1536)),
        ({"ttl": 1, "maxBytes": 1000, "key": ["X-User", "accept"]}, CacheOptions(1.0, 1000, ("x-user", "accept"))),
        (None, None),
        (False, None),
    ],
)
def test_what_is_right(said: Any, expected: CacheOptions | None, caplog: pytest.LogCaptureFixture) -> None:
    assert read_cache({"cache": said}) == expected
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (True, "must have the keys"),
        ({}, "ttl must be seconds"),
        ({"ttl": 0}, "ttl must be seconds"),
        ({"ttl": float("nan")}, "ttl must be seconds"),
        ({"ttl": True}, "ttl must be seconds"),
        ({"ttl": 1e9}, "ttl must be seconds"),
        ({"ttl": 1, "maxBytes": 0}, "maxBytes must be"),
        ({"ttl": 1, "maxBytes": "many"}, "maxBytes must be"),
        ({"ttl": 1, "maxbytes": 5}, "no key 'maxbytes'"),
        ({"ttl": 1, "key": []}, "key must be"),
        ({"ttl": 1, "key": "x-user"}, "key must be"),
        ({"ttl": 1, "key": ["a b"]}, "key must be"),
        ({"ttl": 1, "key": ["a"] * 33}, "key must be"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_kept(said: Any, text: str, caplog: pytest.LogCaptureFixture) -> None:
    assert read_cache({"cache": said}) is None
    assert text in caplog.text


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
        lambda each: st.lists(each) | st.dictionaries(st.text() | st.sampled_from(["ttl", "maxBytes", "key"]), each),
        max_leaves=6,
    )
)
def test_whatever_a_yaml_says_is_read_or_refused(said: Any) -> None:
    found = read_cache({"cache": said})
    assert found is None or (found.ttl > 0 and found.max_bytes > 0)


@pytest.mark.parametrize("key", ["continuousBatching", "sequenceBatching"])
def test_a_model_whose_answers_depend_on_those_before_keeps_none(key: str, caplog: pytest.LogCaptureFixture) -> None:
    assert resolve_options({"cache": {"ttl": 1}, key: True}, Requested(), Settings()).cache is None
    assert "cache is ignored" in caplog.text
