"""What a request is charged with: what others like it have used, within what it asks for and what a context has."""

from __future__ import annotations

import pytest

from torchserve.scheduler.token_model import ENOUGH, FIRST_GUESS, REMEMBERED, TokenModel
from torchserve.scheduler.tokens import EngineBounds, TokenDemand

BOUNDS = EngineBounds(1000, 4000)


@pytest.mark.parametrize(
    ("demand", "bounds", "cost"),
    [
        (TokenDemand(400), BOUNDS, 100 + FIRST_GUESS),
        (TokenDemand(400, completion=10), BOUNDS, 110),
        (TokenDemand(400, prompt=7, completion=10), BOUNDS, 17),
        (TokenDemand(400, completion=10**6), BOUNDS, 100 + FIRST_GUESS),
        (TokenDemand(400, completion=10, sequences=3, copies=3), BOUNDS, 330),
        (TokenDemand(400, completion=10, sequences=4, copies=1), BOUNDS, 140),
        (TokenDemand(10**9), BOUNDS, 1000),
        (TokenDemand(10**9, completion=1), None, 10**9 // 4 + 1),
        (TokenDemand(0, prompt=0, completion=0), None, 1),
    ],
)
def test_before_anything_is_known(demand: TokenDemand, bounds: EngineBounds | None, cost: int) -> None:
    assert TokenModel().cost(demand, bounds) == cost


def test_lengths_are_believed_once_there_are_enough() -> None:
    model = TokenModel()
    for _ in range(ENOUGH - 1):
        model.ended(TokenDemand(40, sequences=2), 20, 1.0)
    assert model.completion(TokenDemand(40)) == FIRST_GUESS
    model.ended(TokenDemand(40), 50, 1.0)
    assert model.completion(TokenDemand(40)) == 50
    assert model.completion(TokenDemand(40, completion=3)) == 3
    for _ in range(REMEMBERED):
        model.ended(TokenDemand(40), 0, 1.0)
    assert model.completion(TokenDemand(40)) == 1


def test_bytes_of_a_token() -> None:
    model = TokenModel()
    assert (model.to_first, model.held) == (0.0, None)
    model.began(TokenDemand(100, copies=2), 100, 0.5)
    model.began(TokenDemand(100, prompt=3), 3, 0.7)
    model.began(TokenDemand(0), 3, 0.6)
    assert model.cost(TokenDemand(1000, completion=1), None) == 501
    assert model.to_first == 0.6


def test_how_long_tokens_are_held() -> None:
    model = TokenModel()
    for seconds in (9.0, 1.0, 2.0):
        model.ended(TokenDemand(1), 1, seconds)
    assert model.held == 2.0


@pytest.mark.parametrize(
    ("demand", "least"),
    [
        (TokenDemand(10**6), 2),
        (TokenDemand(9, completion=5), 6),
        (TokenDemand(9, prompt=7, completion=5), 12),
        (TokenDemand(9, prompt=7, completion=5, sequences=3, copies=3), 12),
        (TokenDemand(9, prompt=8, completion=5, sequences=4, copies=2), 9),
    ],
)
def test_the_least_that_a_sequence_needs(demand: TokenDemand, least: int) -> None:
    assert demand.least == least
