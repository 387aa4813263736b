"""What is asked for in OpenAI's format: read, or refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.generation.engine import Sampling
from torchserve.core.generation.openai_request import MOST_STOPS, GenerationRequest, Refused, read_chat, read_completion

MOST = 8
HI = [{"role": "user", "content": "hi"}]


def chat(**more: Any) -> GenerationRequest:
    return read_chat({"model": "m", "messages": HI, **more}, MOST)


def test_a_plain_chat() -> None:
    assert chat() == GenerationRequest(messages=({"role": "user", "content": "hi"},))


def test_every_field_that_is_read() -> None:
    found = chat(
        max_completion_tokens=7, max_tokens=9, temperature=0, top_p=0.5, n=2, stop=["a", "b"], stream=True,
        stream_options={"include_usage": True}, seed=3, user="u", tools=[], response_format={"type": "text"},
    )  # fmt: skip
    assert found == GenerationRequest(
        ({"role": "user", "content": "hi"},), (), 7, 0.0, 0.5, 2, ("a", "b"), stream=True, include_usage=True
    )


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
        ({"seed": 1}, "seed"),
        ({"logprobs": True}, "logprobs"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
    ],
)
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
        assert request.sampling(prompt, 100) == Sampling(found)
        return
    with pytest.raises(Refused) as refused:
        request.sampling(prompt, 100)
    assert (refused.value.param, refused.value.code) == (found, "context_length_exceeded")
    assert "100" in refused.value.message
    assert str(prompt) in refused.value.message


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda of: st.lists(of, max_size=3) | st.dictionaries(st.text(max_size=5), of, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["messages", "prompt", "n", "stop", "stream", "stream_options", "max_tokens", "temperature", "seed", "tools", "top_p"])  # fmt: skip


@given(st.dictionaries(FIELDS, ANY), st.booleans())
def test_whatever_comes_is_read_or_refused(body: dict[str, Any], valid: bool) -> None:
    for read in (read_chat, read_completion):
        full = {**body, "messages": HI, "prompt": "hi"} if valid else body
        try:
            read(full, MOST)
        except Refused as refused:
            assert refused.status == 400
