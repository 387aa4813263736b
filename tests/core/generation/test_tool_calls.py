"""Calls of tools in the text of a model: found however the text is cut, and nothing else taken for one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.generation.tool_calls import HERMES, LLAMA, ToolCall, ToolCallStream, ToolFormat, tool_format

CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
F = ToolCall("f", '{"a":1}')


def streamed(form: ToolFormat, text: str, cuts: Sequence[int]) -> tuple[str, list[ToolCall]]:
    stream = ToolCallStream(form, {"f", "g"})
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    said = [stream.add(text[a:b]) for a, b in pairwise(places)]
    said.append(stream.add("", last=True))
    assert stream.calls == [call for _, calls in said for call in calls]
    return "".join(words for words, _ in said), stream.calls


@pytest.mark.parametrize(
    ("form", "text", "words", "calls"),
    [
        (HERMES, "just words", "just words", []),
        (HERMES, "words \n", "words \n", []),
        (HERMES, CALL, "", [F]),
        (HERMES, f"I look.\n{CALL}\n{CALL}\n", "I look.", [F, F]),
        (HERMES, CALL.removesuffix("</tool_call>"), "", [F]),  # cut off by its last token, and complete
        (HERMES, f"{CALL}and so", "and so", [F]),
        (HERMES, "a <tool_call>no json</tool_call>", "a <tool_call>no json</tool_call>", []),
        (HERMES, '<tool_call>{"name": "rm"}</tool_call>', '<tool_call>{"name": "rm"}</tool_call>', []),
        (HERMES, '<tool_call>{"name": "g"}</tool_call>', "", [ToolCall("g", "{}")]),
        (HERMES, "<tool", "<tool", []),
        (HERMES, "<tool_call>{", "<tool_call>{", []),
        (LLAMA, '{"name": "f", "parameters": {"a": 1}}', "", [F]),
        (LLAMA, ' {"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {}}', "", [F, ToolCall("g", "{}")]),
        (LLAMA, '{"just": "json"}', '{"just": "json"}', []),
        (LLAMA, 'So {"name": "f", "parameters": {}}', 'So {"name": "f", "parameters": {}}', []),
    ],
)  # fmt: skip
@given(st.lists(st.integers(0, 130)))
def test_a_text_in_pieces(form: ToolFormat, text: str, words: str, calls: list[ToolCall], cuts: list[int]) -> None:
    assert streamed(form, text, cuts) == (words, calls)


@given(st.text('<tol_ca>{}" \nx/', max_size=40), st.lists(st.integers(0, 40)))
def test_a_text_without_calls_stays_as_it_is(text: str, cuts: list[int]) -> None:
    assert streamed(HERMES, text, cuts) == (text, [])


def test_words_come_as_they_are_certain() -> None:
    stream = ToolCallStream(HERMES, {"f"})
    assert [stream.add(each)[0] for each in ("Let ", "me see", ". <", "3 <tool_", "call>")] == ["Let", " me see", ".", " <3", ""]  # fmt: skip


@pytest.mark.parametrize(
    ("template", "form"),
    [
        ("{{ messages }}", None),
        ('{% if tools %}<tool_call>{"name": x, "arguments": y}{% endif %}', HERMES),
        ('{% if tools %}{"name": x, "parameters": y}{% endif %}', LLAMA),
        ("{% if tools %}<tool_call><function=arguments>{% endif %}", None),
        ("{% if tools %}[TOOL_CALLS]{% endif %}", None),
    ],
)
def test_the_format_is_known_by_the_template(template: str, form: ToolFormat | None) -> None:
    assert tool_format(template) == form
