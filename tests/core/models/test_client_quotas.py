"""Each client has what its limits give it, by a plain model; and inventing clients gives nobody more."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.config.client_limits import ClientLimits
from torchserve.core.errors import ClientLimited
from torchserve.core.models.client_quotas import ClientQuotas, Quota
from torchserve.core.models.model_spec import share_policy
from torchserve.scheduler.policy import SharePolicy


def quotas(most: int = 100, **limits: dict[str, float]) -> ClientQuotas:
    return ClientQuotas(ClientLimits.parse(json.dumps(limits)), 0.0, most)


def admitted(subject: ClientQuotas, client: str, now: float, tokens: int = 0) -> bool:
    try:
        subject.admit(client, tokens, now)
    except ClientLimited:
        return False
    return True


@given(st.lists(st.floats(0, 3), max_size=80), st.integers(1, 9), st.integers(1, 12))
def test_no_window_of_time_has_more_than_a_burst_and_the_rate(gaps: list[float], rate: int, burst: int) -> None:
    subject = quotas(a={"requestsPerSecond": rate, "burst": burst})
    now, came = 0.0, list[float]()
    for gap in gaps:
        now += gap
        if admitted(subject, "a", now):
            came.append(now)
    for first in range(len(came)):
        for last in range(first, len(came)):
            assert last - first + 1 <= burst + rate * (came[last] - came[first]) + 1e-6


def test_who_waits_for_as_long_as_it_is_told_gets_through() -> None:
    subject = quotas(a={"requestsPerSecond": 0.5, "burst": 2})
    assert [admitted(subject, "a", 0.0) for _ in range(3)] == [True, True, False]
    with pytest.raises(
        ClientLimited, match=r"0.5 requests a second are accepted .*requestsPerSecond.* in 1.5 s"
    ) as caught:
        subject.admit("a", 0, 0.5)
    assert caught.value.retry_after == pytest.approx(1.5)
    assert admitted(subject, "a", 2.0)


def test_concurrent_requests_are_counted_until_they_end() -> None:
    subject = quotas(a={"concurrent": 2})
    first = subject.admit("a", 0, 0.0)
    subject.admit("a", 0, 0.0)
    with pytest.raises(ClientLimited, match="This client: 2 requests are unanswered, and at most 2 may be"):
        subject.admit("a", 0, 1e6)
    subject.release(first)
    assert admitted(subject, "a", 0.0)
    assert admitted(subject, "b", 0.0)  # it has no limits


def test_tokens_may_be_owed_and_are_made_up_for() -> None:
    subject = quotas(default={"tokensPerMinute": 600})
    assert admitted(subject, "a", 0.0, 1500)
    with pytest.raises(ClientLimited, match="600 tokens a minute") as caught:
        subject.admit("a", 1, 60.0)
    assert caught.value.retry_after == pytest.approx(30.1)
    assert admitted(subject, "a", 90.2, 1)
    assert admitted(subject, "a", 60.0), "a request without tokens is none of that limit's"


def test_a_burst_of_one_client_costs_another_nothing() -> None:
    subject = quotas(default={"requestsPerSecond": 5, "concurrent": 5})
    for _ in range(100):
        admitted(subject, "noisy", 0.0)
    assert admitted(subject, "quiet", 0.0)


def test_whoever_invents_clients_has_no_more_than_all_others_together() -> None:
    subject = quotas(default={"requestsPerSecond": 5}, others={"requestsPerSecond": 20}, known={"requestsPerSecond": 5})
    assert sum(admitted(subject, f"invented {at}", 0.0) for at in range(1000)) == 20
    assert admitted(subject, "known", 0.0)


def test_invented_clients_are_bounded_and_those_beyond_share_one_clients_limits() -> None:
    subject = quotas(10, default={"requestsPerSecond": 2})
    held: list[tuple[Quota, ...]] = []
    for at in range(1000):
        with contextlib.suppress(ClientLimited):
            held.append(subject.admit(f"invented {at}", 0, 0.0))
    assert (len(held), len(subject)) == (10 + 2, 10)
    assert sum(admitted(subject, f"busy {at}", 2.0) for at in range(100)) == 2
    for each in held:
        subject.release(each)
    assert sum(admitted(subject, f"later {at}", 4.0) for at in range(100)) == 10 + 2, "quiet ones make room"
    assert len(subject) == 10


def test_a_client_is_not_forgotten_while_that_would_give_it_more() -> None:
    subject = quotas(2, default={"concurrent": 1})
    held = subject.admit("a", 0, 0.0)
    subject.admit("b", 0, 0.0)
    admitted(subject, "c", 1e6)
    assert not admitted(subject, "a", 1e6)
    subject.release(held)
    assert admitted(subject, "c2", 1e6)
    assert admitted(subject, "a", 1e6) is False or len(subject) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "it is no JSON"),
        ("[]", "must be a JSON object"),
        ('{"secret": 3}', "client 1: its limits must be a JSON object"),
        ('{"secret": {"rps": 3}}', "client 1: there is no limit 'rps'"),
        ('{"default": {"concurrent": 0}}', "default: concurrent must be a whole number above 0"),
        ('{"default": {"concurrent": 1.5}}', "concurrent must be a whole number"),
        ('{"default": {"requestsPerSecond": true}}', "requestsPerSecond must be a number"),
        ('{"others": {"burst": 5}}', "others: burst belongs to requestsPerSecond"),
        ('{"others": {"burst": 0.5, "requestsPerSecond": 1}}', "burst must be 1 or more"),
        ('{"secret": {"weight": 0.0001}}', "client 1: weight must be from 0.001 to 1000, not 0.0001"),
        ('{"default": {"weight": 1001}}', "default: weight must be from 0.001 to 1000, not 1001"),
        ('{"default": {"weight": "2"}}', "default: weight must be a number above 0"),
    ],
)
def test_limits_that_say_nothing_are_refused_without_naming_a_client(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        ClientLimits.parse(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "refuses", "shares"),
    [
        ("{}", False, None),
        ('{"a": {"concurrent": 3}}', True, None),
        ('{"default": {"weight": 2}}', False, SharePolicy({}, 2.0)),
        ('{"a": {"weight": 4, "concurrent": 3}, "b": {}}', True, SharePolicy({"a": 4.0, "b": 1.0})),
        ('{"a": {}, "others": {"weight": 0.5}}', False, SharePolicy({"a": 1.0}, 1.0, 0.5)),
    ],
)
def test_weights_are_shares_and_refuse_nobody(text: str, refuses: bool, shares: SharePolicy | None) -> None:
    limits = ClientLimits.parse(text)
    assert (limits.refuses, share_policy(limits)) == (refuses, shares)
