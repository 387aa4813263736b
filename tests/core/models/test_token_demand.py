"""What bodies ask for in tokens; those that the handler is going to refuse wait for no memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.models.token_demand import client_of, demand_of
from torchserve.core.payload import Part, Payload
from torchserve.scheduler.tokens import TokenDemand

HI = [{"role": "user", "content": "hi"}]


def demand(body: Any, most: int = 16) -> TokenDemand | None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return demand_of(Payload("id", (Part("body", "application/json", data),)), most)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"prompt": "hello"}, TokenDemand(7)),
        ({"prompt": "hello", "max_tokens": 5}, TokenDemand(7, completion=5)),
        ({"prompt": "hello", "max_tokens": 5, "max_completion_tokens": 6}, TokenDemand(7, completion=6)),
        ({"prompt": "hello", "n": 3}, TokenDemand(7, sequences=3, copies=3)),
        ({"prompt": ["a", "b"], "n": 3}, TokenDemand(10, sequences=6, copies=3)),
        ({"prompt": [1, 2, 3]}, TokenDemand(9, prompt=3)),
        ({"prompt": [[1, 2], [3]], "n": 2}, TokenDemand(13, prompt=3, sequences=4, copies=2)),
        ({"prompt": []}, TokenDemand(0)),
        ({"messages": HI}, TokenDemand(len(json.dumps({"messages": HI})))),
        ({"prompt": "a", "max_tokens": "many"}, None),
        ({"prompt": "a", "n": True}, None),
        ({"prompt": "a", "n": 17}, None),
        ({"prompt": ["a"] * 9, "n": 2}, None),
        (b"{", None),
        (b"[]", None),
        (b"\xff", None),
        (b"", None),
        (b"[" * 100_000, None),
    ],
)
def test_bodies(body: Any, found: TokenDemand | None) -> None:
    assert demand(body) == found


def test_a_request_without_a_body() -> None:
    assert demand_of(Payload("id", ()), 16) is None


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda of: st.lists(of, max_size=3) | st.dictionaries(st.text(max_size=5), of, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["prompt", "messages", "n", "max_tokens", "max_completion_tokens"]), ANY))
def test_whatever_comes_is_within_bounds(body: dict[str, Any]) -> None:
    found = demand(body)
    if found is not None:
        assert 1 <= found.sequences <= 16
        assert found.least >= 1


@pytest.mark.parametrize(
    ("headers", "client"),
    [({}, ""), ({"X-Tenant": "a", "x-other": "b"}, "a"), ({"x-tenant": "a"}, "a"), ({"x-tenant-2": "a"}, "")],
)
def test_the_header_that_names_a_client(headers: dict[str, str], client: str) -> None:
    assert client_of(headers, "x-tenant") == client
