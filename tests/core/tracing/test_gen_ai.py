"""What the spans of requests to language models tell, and that bodies which are none of theirs hurt nobody."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.payload import Part, Payload
from torchserve.core.tracing.gen_ai import MOST_READ, answered_with, asked_of
from torchserve.core.tracing.otlp import as_json, as_protobuf
from torchserve.core.tracing.request_trace import Told

from .doubles import Desk

CHAT = {"url_path": "v1/chat/completions"}
ASKED = {
    "model": "llama", "messages": [{"role": "user", "content": "secret"}], "max_tokens": 5, "temperature": 1,
    "top_p": 0.5, "frequency_penalty": 0.25, "presence_penalty": -1, "seed": 7, "n": 2, "stream": True,
}  # fmt: skip
ANSWER = {
    "id": "chatcmpl-1", "model": "llama-2", "choices": [{"finish_reason": "stop"}, {"finish_reason": None}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4},
}  # fmt: skip


def request(body: Any, headers: dict[str, str] = CHAT) -> Payload:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Payload("r", (Part("body", "application/json", data),), headers)


def test_what_is_asked_for_is_told_without_the_prompt() -> None:
    assert asked_of(request(ASKED)) == {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "torchserve", "gen_ai.request.model": "llama",
        "gen_ai.request.max_tokens": 5, "gen_ai.request.temperature": 1.0, "gen_ai.request.top_p": 0.5,
        "gen_ai.request.frequency_penalty": 0.25, "gen_ai.request.presence_penalty": -1.0, "gen_ai.request.seed": 7,
        "gen_ai.request.choice.count": 2, "gen_ai.request.stream": True,
    }  # fmt: skip
    assert asked_of(request(ASKED | {"max_completion_tokens": 9}))["gen_ai.request.max_tokens"] == 9  # type: ignore[index]


@pytest.mark.parametrize(
    ("path", "operation"),
    [("v1/completions", "text_completion"), ("v1/embeddings", "embeddings"), ("v1/else", None), ("", None)],
)
def test_openais_paths_are_language_models(path: str, operation: str | None) -> None:
    found = asked_of(request({}, {"url_path": path}))
    assert (found and found["gen_ai.operation.name"]) == operation
    assert asked_of(Payload("r", (), CHAT)) is None


WILD = st.one_of(
    st.binary(max_size=30),
    st.dictionaries(
        st.sampled_from([*ASKED, *ANSWER]),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=3)),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["usage", "finish_reason"]), inner),
            max_leaves=4,
        ),
    ).map(lambda found: json.dumps(found).encode()),
)  # fmt: skip


@given(WILD)
def test_whatever_comes_the_attributes_are_plain_values(body: bytes) -> None:
    found = asked_of(request(body)) or {}
    found |= answered_with(body)
    for value in found.values():
        assert isinstance(value, bool | int | float | str) or all(isinstance(each, str) for each in value)
        assert not isinstance(value, int) or -(2**63) <= value < 2**63


def test_a_body_that_is_long_is_not_looked_through() -> None:
    found = asked_of(request(b'{"model":"m"}' + b" " * MOST_READ))
    assert found == {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "torchserve"}


def test_the_span_has_what_was_asked_what_the_engine_counted_and_how_it_ended() -> None:
    desk = Desk()
    trace = desk.tracer.begin(None)
    assert trace is not None
    trace.queue(request(ASKED), "llama")
    trace.answered(json.dumps(ANSWER).encode())
    trace.generated(30, 2)
    trace.generated(30, 40)
    trace.end(lambda: Told("POST /v1/chat/completions", {}))
    root = desk.spans()[0]
    assert root.attributes["gen_ai.response.finish_reasons"] == ["stop"]
    assert (root.attributes["gen_ai.response.id"], root.attributes["gen_ai.response.model"]) == (
        "chatcmpl-1",
        "llama-2",
    )
    assert (root.attributes["gen_ai.usage.input_tokens"], root.attributes["gen_ai.usage.output_tokens"]) == (30, 40)
    told = json.loads(as_json([root], {}))["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"]
    assert {
        "key": "gen_ai.response.finish_reasons",
        "value": {"arrayValue": {"values": [{"stringValue": "stop"}]}},
    } in told
    assert b"gen_ai.response.finish_reasons" in as_protobuf([root], {})


def test_other_requests_have_none_of_it() -> None:
    desk = Desk()
    trace = desk.tracer.begin(None)
    assert trace is not None
    trace.queue(request(ASKED, {}), "cats")
    trace.answered(json.dumps(ANSWER).encode())
    trace.end(lambda: Told("POST /predictions/cats", {}))
    assert not [name for name in desk.spans()[0].attributes if name.startswith("gen_ai")]
