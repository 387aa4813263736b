"""Tickets: of any sequence of starts, arrivals and withdrawals each nonce is good at most once, for its owner."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.wire.remote_messages import Hello
from torchserve.core.workers.remote.tickets import Refused, Tickets

STEPS = st.lists(st.tuples(st.sampled_from(["issue", "show", "steal", "withdraw"]), st.integers(0, 9)), max_size=40)


@given(STEPS)
def test_a_nonce_is_good_once_for_its_owner_until_it_is_withdrawn(steps: list[tuple[str, int]]) -> None:
    tickets: Tickets[int] = Tickets()
    issued: list[tuple[str, int]] = []
    good: set[int] = set()
    for what, which in steps:
        if what == "issue":
            epoch = tickets.next_epoch()
            good.add(len(issued))
            issued.append((tickets.issue("W", epoch, "mine", len(issued)), epoch))
            continue
        if which >= len(issued):
            continue
        nonce, epoch = issued[which]
        if what == "withdraw":
            tickets.withdraw(nonce)
            good.discard(which)
        elif what == "steal" or which not in good:
            with pytest.raises(Refused):
                tickets.redeem(Hello("W", epoch, nonce, 1, "h"), "another's" if what == "steal" else "mine")
        else:
            assert tickets.redeem(Hello("W", epoch, nonce, 1, "h"), "mine") == which
            good.discard(which)
    assert len(tickets) == len(good)


def test_what_is_remembered_of_old_nonces_is_bounded() -> None:
    tickets: Tickets[None] = Tickets()
    nonces = [tickets.issue("W", 1, "", None) for _ in range(5000)]
    for nonce in nonces:
        tickets.withdraw(nonce)
    with pytest.raises(Refused, match="was never issued"):
        tickets.redeem(Hello("W", 1, nonces[0], 1, "h"), "")
    with pytest.raises(Refused, match="an old epoch"):
        tickets.redeem(Hello("W", 1, nonces[-1], 1, "h"), "")
