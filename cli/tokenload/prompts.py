"""Prompts of drawn lengths, made of common words, and how many tokens are asked for behind each."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Tokens at the quantiles 0, 5 %, … 100 % of two log-normal distributions, made up. Their means, 162 and 347, are near
# those that the paper on PagedAttention (2023) tells of the conversations in ShareGPT, 161 and 338.
PROMPT_QUANTILES = (2, 7, 11, 15, 20, 26, 32, 40, 49, 59, 72, 87, 106, 130, 162, 205, 265, 340, 450, 660, 1024)
ANSWER_QUANTILES = (4, 42, 61, 79, 97, 116, 136, 157, 181, 206, 235, 268, 305, 350, 405, 474, 566, 660, 800, 1050, 1600)
_WORDS = (
    "the of and to in is was that for it with as on be at by this had not are but from or have an they which one you"
    " were all her she there would their we him been has when who will no more if out so said what up its about into"
    " than them can only other time new some could these two may first then do any like my now over such our man me"
    " even most made after also did many must before back see through way where get much go well your know should down"
    " work year because come people just say each those take day good how long little use own great old still here"
).split()


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text of about `tokens` tokens, to be answered with at most `answer` tokens."""

    text: str
    tokens: int
    answer: int


def prompts(
    seed: int, *, most: int, prompt: int | None = None, answer: int | None = None, pairs: list[tuple[int, int]] = [],  # noqa: B006
) -> Iterator[Prompt]:  # fmt: skip
    """Yield prompts without end, the same for the same seed.

    Lengths are `prompt` and `answer` if given, else those of one of `pairs`, else drawn from the distribution; both are
    cut so that they are at most `most` together. No two prompts begin in the same way, so that none is in a cache.
    """
    draw = random.Random(seed)  # noqa: S311  (no secret)
    number = 0
    while True:
        number += 1
        pair = draw.choice(pairs) if pairs else (_drawn(draw, PROMPT_QUANTILES), _drawn(draw, ANSWER_QUANTILES))
        tokens = min(prompt or pair[0], max(most - 1, 1))
        wanted = max(1, min(answer or pair[1], most - tokens))
        yield Prompt(f"{number}: " + " ".join(draw.choices(_WORDS, k=max(tokens - 3, 1))), tokens, wanted)


def read_pairs(path: Path) -> list[tuple[int, int]]:
    """Return the lengths that a file has: one pair a line, tokens of a prompt and of its answer.

    Raises OSError and ValueError.
    """
    found = [tuple(int(each) for each in line.replace(",", " ").split()) for line in path.read_text().splitlines()]
    if not found or any(len(pair) != 2 or min(pair) < 1 for pair in found):
        raise ValueError(f"{path}: each line has the tokens of a prompt and of its answer, such as 120 300")
    return [(pair[0], pair[1]) for pair in found]


def _drawn(draw: random.Random, quantiles: tuple[int, ...]) -> int:
    place = draw.random() * (len(quantiles) - 1)
    low = int(place)
    return round(quantiles[low] + (quantiles[low + 1] - quantiles[low]) * (place - low))
