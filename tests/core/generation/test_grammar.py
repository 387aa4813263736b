"""The forms that a text is held to: whatever is drawn of the tokens that are allowed, the whole is in that form."""

from __future__ import annotations

import json
import random
import sys
from typing import Any

import pytest

from torchserve.core.generation.engine import Constraint
from torchserve.core.generation.grammar import Grammars
from torchserve.core.generation.openai_fields import Refused
from torchserve.core.generation.openai_messages import Tools
from torchserve.core.generation.tool_calls import HERMES, LLAMA, ToolCallStream, ToolFormat

from .test_chat_template import tokenizer

pytest.importorskip("transformers")
END = 256
TOKENIZER = tokenizer(None)
TOKENIZER.add_special_tokens({"eos_token": "<end>"})
PERSON = {
    "type": "object", "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 99}, "sex": {"enum": ["f", "m"]}},
    "required": ["age", "sex"], "additionalProperties": False,
}  # fmt: skip
TOOLS = {"f": PERSON, "g": {"type": "object", "properties": {}, "additionalProperties": False}}


def drawn(constraint: Constraint, seed: int) -> str:
    """Return a text of tokens drawn of those that are allowed, up to the end token."""
    draw = random.Random(seed)
    tokens: list[int] = []
    while True:
        allowed = constraint.allowed()
        choice = draw.choice([each for each in range(END + 1) if allowed[each // 8] >> each % 8 & 1])
        if choice == END:
            return TOKENIZER.decode(tokens)
        tokens.append(choice)
        constraint.accept(choice)


def grammars() -> Grammars:
    pytest.importorskip("llguidance")
    return Grammars(TOKENIZER, [END])


def test_json_of_a_schema() -> None:
    first = grammars().json(PERSON)
    for seed in range(5):
        found = json.loads(drawn(first.copy(), seed))
        assert sorted(found) == ["age", "sex"]
        assert 0 <= found["age"] <= 99
        assert found["sex"] in "fm"


@pytest.mark.parametrize("form", [HERMES, LLAMA])
@pytest.mark.parametrize(("choice", "names"), [("required", {"f", "g"}), ("g", {"g"})])
def test_calls_of_tools(form: ToolFormat, choice: str, names: set[str]) -> None:
    first = grammars().calls(Tools(TOOLS, [], choice, parallel=False), form)
    for seed in range(4):
        stream = ToolCallStream(form, TOOLS)
        assert stream.add(drawn(first.copy(), seed), last=True)[0] == ""
        (call,) = stream.calls
        assert call.name in names
        assert sorted(json.loads(call.arguments)) == (["age", "sex"] if call.name == "f" else [])


def test_references_within_the_schema_of_a_tool() -> None:
    pair = {
        "type": "object", "$defs": {"letter": {"enum": ["x", "y"]}}, "properties": {"a": {"$ref": "#/$defs/letter"}},
        "required": ["a"], "additionalProperties": False,
    }  # fmt: skip
    stream = ToolCallStream(HERMES, ["h"])
    stream.add(drawn(grammars().calls(Tools({"h": pair}, [], "h", parallel=False), HERMES), 1), last=True)
    assert json.loads(stream.calls[0].arguments)["a"] in "xy"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "banana"},
        {"$ref": "http://somewhere/else"},
        {"type": "string", "pattern": "(?=a)b"},
        {"type": "object", "properties": {"a": {"not": {}}}},
    ],
)
def test_a_schema_that_cannot_be_kept_to_is_refused(schema: Any) -> None:
    with pytest.raises(Refused, match="can't be kept to") as refused:
        grammars().json(schema)
    assert refused.value.param == "response_format"
    with pytest.raises(Refused):
        grammars().calls(Tools({"f": schema}, [], "f"), HERMES)


def test_a_schema_that_is_too_deep_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(900):
        schema = {"type": "array", "items": schema}
    with pytest.raises(Refused):
        grammars().json(schema)


def test_a_token_against_the_form_ends_it() -> None:
    held = grammars().json(PERSON)
    held.accept(TOKENIZER.encode("x")[0])
    with pytest.raises(ValueError, match="can't be kept to"):
        held.allowed()


def test_without_llguidance_the_refusal_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    for ask in (
        lambda: Grammars(TOKENIZER, [END]).json(PERSON),
        lambda: Grammars(TOKENIZER, [END]).calls(Tools(TOOLS, [], "f"), HERMES),
    ):
        with pytest.raises(Refused, match=r"pip install 'torchserve\[llm\]'") as refused:
            ask()
        assert refused.value.code == "unsupported_parameter"
