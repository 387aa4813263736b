"""Patterns of the configuration: what they match in full, and that none of them stops the server."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchserve.core.archive.allowed_urls import AllowedUrls
from torchserve.core.archive.store import LONGEST_URL, is_fetched
from torchserve.core.bounded_match import TooCostly, matching
from torchserve.core.errors import ArchiveNotFound, InvalidConfig
from torchserve.core.workers.worker_environment import visible

AMBIGUOUS = "https://(([a-z]+)*)*!"
LOOKAHEAD = r"https://(?!evil)\w+\.example/.*"


@settings(max_examples=10, deadline=None)
@given(st.lists(st.text(max_size=8), max_size=4), st.booleans())
def test_as_re_matches(texts: list[str], any_case: bool):
    patterns = ["a.*", "[^a]*", r"\w\W", "ä"]
    flags = re.IGNORECASE if any_case else 0
    expected = [text for text in texts if any(re.fullmatch(pattern, text, flags) for pattern in patterns)]
    assert matching(patterns, texts, any_case=any_case) == expected


def test_patterns_of_java_that_no_linear_engine_takes():
    assert matching([LOOKAHEAD, r"(\w)\1"], ["https://evil.example/", "https://a.example/x", "oo"]) == [
        "https://a.example/x",
        "oo",
    ]
    assert matching([], ["a"]) == matching(["a"], []) == []


@pytest.mark.parametrize("pattern", [AMBIGUOUS, "https://(a|a)*b", "https://(a*)*b", ".*" * 8 + "!"])
def test_an_ambiguous_pattern_is_ended_while_this_process_goes_on(pattern: str):
    """In this process it would take years; every other thread would stand still."""
    ticks: list[int] = []
    done = threading.Event()

    def tick() -> None:
        while not done.wait(0.001):
            ticks.append(1)

    beside = threading.Thread(target=tick)
    beside.start()
    with pytest.raises(TooCostly, match=re.escape(f"the pattern {pattern!r} takes longer than 0.2 s")):
        matching(["fine", pattern], ["https://" + "a" * 5000], seconds=0.2)
    done.set()
    beside.join()
    assert len(ticks) > 1


def test_a_registration_is_told_of_the_pattern(caplog: pytest.LogCaptureFixture):
    with pytest.raises(ArchiveNotFound, match=r"can't be compared with allowed_urls: the pattern .* takes longer than"):
        AllowedUrls([AMBIGUOUS]).check("https://" + "a" * 40, Path("/models"))
    assert "allowed_urls can't be compared with https://aaa" in caplog.text


def test_a_url_is_bounded_before_it_is_looked_at():
    assert is_fetched("https://h/" + "x" * (LONGEST_URL - 10))
    with pytest.raises(ArchiveNotFound, match="The url has 8193 characters; at most 8192 are accepted"):
        is_fetched("https://h/" + "x" * (LONGEST_URL - 9))


def test_the_hidden_variables_are_looked_for_once():
    environment = {"AWS_KEY": "1", "aws_key": "2", "PATH": "3"}
    assert visible(environment, "AWS_.*|PA") == {"aws_key": "2", "PATH": "3"}
    assert visible(environment, None) == visible(environment, "") == environment
    before = os.times().children_user
    assert visible(dict(environment), "AWS_.*|PA") == {"aws_key": "2", "PATH": "3"}
    assert os.times().children_user == before, "no second process"


def test_a_pattern_of_variables_that_takes_too_long_ends_the_start():
    with pytest.raises(InvalidConfig, match="blacklist_env_vars can't be compared with the environment: the pattern"):
        visible({"A" * 60: "1"}, "(A+)+b")
