"""Prompts: of the lengths that are wanted, the same for the same seed, and no two alike."""

from __future__ import annotations

import statistics
from itertools import islice
from pathlib import Path

import pytest

from torchserve.cli.tokenload.prompts import Prompt, prompts, read_pairs


def test_drawn_lengths_have_the_distribution_s_means() -> None:
    found = list(islice(prompts(3, most=4096), 4000))
    assert statistics.mean(each.tokens for each in found) == pytest.approx(161, rel=0.25)
    assert statistics.mean(each.answer for each in found) == pytest.approx(338, rel=0.2)
    assert len({each.text[:8] for each in found}) == len(found)
    words = [len(each.text.split()) for each in found]
    assert all(abs(count - each.tokens) <= 3 for count, each in zip(words, found, strict=True) if each.tokens > 4)


def test_a_seed_draws_the_same() -> None:
    assert list(islice(prompts(1, most=100), 9)) == list(islice(prompts(1, most=100), 9))
    assert next(prompts(1, most=100)) != next(prompts(2, most=100))


def test_lengths_that_are_said_and_a_context_that_bounds_them() -> None:
    assert [(each.tokens, each.answer) for each in islice(prompts(1, most=99, prompt=7, answer=5), 2)] == [(7, 5)] * 2
    assert all(each.answer >= 1 and each.tokens + each.answer <= 64 for each in islice(prompts(1, most=64), 500))
    assert {each.tokens for each in islice(prompts(1, most=4096, pairs=[(3, 4), (8, 9)]), 50)} == {3, 8}
    assert isinstance(next(prompts(1, most=8)), Prompt)


def test_a_file_of_lengths(tmp_path: Path) -> None:
    file = tmp_path / "lengths"
    file.write_text("120 300\n5,6\n")
    assert read_pairs(file) == [(120, 300), (5, 6)]
    for text in ("", "1\n", "1 0\n", "a b\n"):
        file.write_text(text)
        with pytest.raises(ValueError):
            read_pairs(file)
