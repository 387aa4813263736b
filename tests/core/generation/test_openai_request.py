"""What is asked for in OpenAI's format: read, or refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.generation.engine import Sampling
from torchserve.core.generation.openai_fields import Refused
from torchserve.core.generation.openai_messages import Tools
from torchserve.core.generation.openai_request import MOST_STOPS, GenerationRequest, read_chat, read_completion

MOST = 8
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CLOCK = {"type": "function", "function": {"name": "clock"}}
HI = [{"role": "user", "content": "hi"}]


def chat(**more: Any) -> GenerationRequest:
    return read_chat({"model": "m", "messages": HI, **more}, MOST)


def test_a_plain_chat() -> None:
    assert chat() == GenerationRequest(messages=({"role": "user", "content": "hi"},))


def test_every_field_that_is_read() -> None:
    found = chat(
        max_completion_tokens=7, max_tokens=9, temperature=0, top_p=0.5, n=2, stop=["a", "b"], stream=True,
        stream_options={"include_usage": True}, seed=3, user="u", tools=[], response_format={"type": "text"},
        logprobs=True, top_logprobs=2, presence_penalty=0.5, frequency_penalty=-1, logit_bias={"7": -100},
    )  # fmt: skip
    assert found == GenerationRequest(
        ({"role": "user", "content": "hi"},), (), 7, 0.0, 0.5, 2, ("a", "b"), stream=True, include_usage=True, seed=3,
        logprobs=2, presence=0.5, frequency=-1, bias={7: -100},
    )  # fmt: skip
    assert found.sampling(5) == Sampling(5, 0.0, 0.5, 3, 2, 0.5, -1, {7: -100})
    assert found.sampling(5, 1).seed == 4, "each sequence draws its own"


@pytest.mark.parametrize(
    ("form", "schema"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object"}),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array"}}}, {"type": "array"}),
    ],
)
def test_forms_of_a_text(form: Any, schema: Any) -> None:
    assert chat(response_format=form).schema == schema


def test_logprobs_of_completions_are_a_number() -> None:
    assert [read_completion({"prompt": "a", "logprobs": n}, MOST).logprobs for n in (None, False, 0, 5)] == [None, None, 0, 5]  # fmt: skip
    assert chat(logprobs=True).logprobs == 0


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        (None, "auto"), ("auto", "auto"), ("required", "required"), ("none", None),
        ({"type": "function", "function": {"name": "clock"}}, "clock"),
    ],
)  # fmt: skip
def test_tools(choice: Any, found: str | None) -> None:
    tools = chat(tools=[WEATHER, CLOCK], tool_choice=choice).tools
    expected = found and Tools({"weather": {"type": "object"}, "clock": {"type": "object"}}, [WEATHER, CLOCK], found)
    assert tools == expected


def test_calls_in_messages_have_their_arguments_as_objects() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "clock", "arguments": '{"a": 1}'}}
    said = [*HI, {"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "tool_call_id": "1", "content": "noon"}]  # fmt: skip
    messages = chat(messages=said).messages
    assert messages[1]["content"] == ""
    assert messages[1]["tool_calls"][0]["function"] == {"name": "clock", "arguments": {"a": 1}}
    assert messages[2]["tool_call_id"] == "1"


def test_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert chat(messages=[{"role": "user", "content": parts}]).messages[0]["content"] == "ab"


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("a", ("a",)), (["a", "b"], ("a", "b")), ([1, 2], ((1, 2),)), ([[1], "b"], ((1,), "b"))],
)
def test_prompts(prompt: Any, prompts: Any) -> None:
    found = read_completion({"prompt": prompt}, MOST)
    assert (found.prompts, found.max_tokens) == (prompts, 16)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "pope", "content": "x"}]}, "messages[0].role"),
        ({"messages": [*HI, {"role": "user"}]}, "messages[1].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": 2**31}, "max_completion_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": MOST + 1}, "n"),
        ({"n": 0}, "n"),
        ({"stop": ["x"] * (MOST_STOPS + 1)}, "stop"),
        ({"stop": ["x"] * 10_000}, "stop"),
        ({"stop": "x" * 5000}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": 3}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"echo": True}, "echo"),
        ({"seed": 1.5}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"tools": "all"}, "tools"),
        ({"tools": [WEATHER] * 129}, "tools"),
        ({"tools": [{**WEATHER, "x": "y" * (1 << 18)}]}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": 3}}]}, "tools[0].function.parameters"),
        ({"tools": [WEATHER], "tool_choice": "clock"}, "tool_choice"),
        ({"tools": [WEATHER], "parallel_tool_calls": 1}, "parallel_tool_calls"),
        ({"tools": [WEATHER], "tool_choice": "required", "response_format": {"type": "json_object"}}, "response_format"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"x": "y" * 70_000}}}}, "response_format"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]}, "messages[0].tool_calls[0]"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0]"),
        ({"messages": [{"role": "assistant", "tool_calls": "f()"}]}, "messages[0].tool_calls"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"logit_bias": {str(n): 1 for n in range(1025)}}, "logit_bias"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"frequency_penalty": "much"}, "frequency_penalty"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(more: dict[str, Any], param: str) -> None:
    with pytest.raises(Refused) as refused:
        chat(**more)
    assert (refused.value.param, refused.value.status) == (param, 400)
    assert refused.value.body()["error"]["param"] == param


@pytest.mark.parametrize("prompt", [None, "\udfff", [], [[]], [True], [-1], [None], {"a": 1}, 3])
def test_a_prompt_that_is_none(prompt: Any) -> None:
    with pytest.raises(Refused):
        read_completion({"prompt": prompt}, MOST)


def test_sequences_of_all_prompts_count() -> None:
    assert read_completion({"prompt": ["a"] * 4, "n": 2}, MOST).number == 2
    with pytest.raises(Refused, match="10 sequences, more than 8"):
        read_completion({"prompt": ["a"] * 5, "n": 2}, MOST)


@pytest.mark.parametrize(
    ("prompt", "wanted", "found"),
    [
        (10, None, 90),
        (10, 90, 90),
        (99, None, 1),
        (10, 91, "max_tokens"),
        (100, None, "messages"),
        (500, 1, "messages"),
    ],
)
def test_a_context_has_an_end(prompt: int, wanted: int | None, found: int | str) -> None:
    request = chat(**({"max_tokens": wanted} if wanted else {}))
    if isinstance(found, int):
        assert request.room(prompt, 100) == found
        return
    with pytest.raises(Refused) as refused:
        request.room(prompt, 100)
    assert (refused.value.param, refused.value.code) == (found, "context_length_exceeded")
    assert "100" in refused.value.message
    assert str(prompt) in refused.value.message


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda of: st.lists(of, max_size=3) | st.dictionaries(st.text(max_size=5), of, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["messages", "prompt", "n", "stop", "stream", "stream_options", "max_tokens", "temperature", "seed", "tools", "top_p", "tool_choice", "response_format", "logit_bias", "logprobs"])  # fmt: skip


@given(st.dictionaries(FIELDS, ANY), st.booleans())
def test_whatever_comes_is_read_or_refused(body: dict[str, Any], valid: bool) -> None:
    for read in (read_chat, read_completion):
        full = {**body, "messages": HI, "prompt": "hi"} if valid else body
        try:
            read(full, MOST)
        except Refused as refused:
            assert refused.status == 400
