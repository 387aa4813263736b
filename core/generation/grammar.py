"""Grammars: the forms that a text can be held to while it is generated: JSON of a schema, and calls of tools.

llguidance does the work: it says before each token which tokens keep to the form. It bounds its own time and memory,
and a form that goes beyond ends in an error of that request alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from .engine import Constraint
from .openai_fields import Refused
from .openai_messages import Tools
from .tool_calls import ToolFormat

_SPACES = r"[ \n\t]{0,20}"  # between two parts of JSON; a model could go on with spaces for ever
_MISSING = "needs llguidance on the server: pip install 'torchserve[llm]'"


class Grammars:
    """The grammars of one tokenizer. `ends` are the tokens that end a text."""

    def __init__(self, tokenizer: Any, ends: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._ends = [token for token in ends if token >= 0]
        self._made: Any = None

    def json(self, schema: Mapping[str, Any]) -> Constraint:
        """Return the constraint to JSON that fits `schema`. Raises Refused."""
        matcher = self._matcher("response_format")
        return self._constraint(matcher.grammar_from_json_schema(_written(schema)), "response_format")

    def calls(self, tools: Tools, form: ToolFormat) -> Constraint:
        """Return the constraint to calls as `tools.choice` wants them. Raises Refused."""
        matcher = self._matcher("tool_choice")
        names = list(tools.schemas) if tools.choice == "required" else [tools.choice]
        calls = [
            {
                "type": "object",
                "properties": {
                    "name": {"const": name},
                    form.arguments: _placed(tools.schemas[name], f"#/anyOf/{index}/properties/{form.arguments}"),
                },
                "required": ["name", form.arguments],
                "additionalProperties": False,
            }
            for index, name in enumerate(names)
        ]
        call = f"call: %json {_written({'anyOf': calls})}"
        more = f"({_quoted(form.between)} call)*" if tools.parallel else ""
        grammar = f"start: {_quoted(form.begin)} call {more} {_quoted(form.end)}\n{call}"
        return self._constraint(matcher.grammar_from_lark(grammar), "tools")

    def _matcher(self, param: str) -> Any:
        try:
            from llguidance import LLMatcher
        except ImportError:
            raise Refused(f"'{param}' {_MISSING}.", param, "unsupported_parameter") from None
        return LLMatcher

    def _constraint(self, grammar: str, param: str) -> Constraint:
        from llguidance import LLMatcher
        from llguidance.hf import from_tokenizer

        if self._made is None:  # takes up to a second
            self._made = from_tokenizer(self._tokenizer, eos_token=self._ends or None)
        matcher = LLMatcher(self._made, grammar, log_level=0)
        if matcher.is_error():
            raise Refused(f"'{param}' has a schema that can't be kept to: {matcher.get_error()[:500]}", param)
        return _Held(matcher)


class _Held:
    """A constraint to a grammar."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def copy(self) -> _Held:
        """Return a constraint that begins where this one is."""
        return _Held(self._matcher.deep_copy())

    def allowed(self) -> bytes:
        mask = self._matcher.compute_bitmask()
        if self._matcher.is_error():
            raise ValueError(f"the form of the text can't be kept to: {self._matcher.get_error()[:500]}")
        return mask

    def accept(self, token: int) -> None:
        self._matcher.consume_token(token)


def _placed(schema: Any, place: str) -> Any:
    """Return a schema whose references to its own parts hold where it is put at `place` of another."""
    if isinstance(schema, list):
        return [_placed(each, place) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {
        key: place + value[1:]
        if key == "$ref" and isinstance(value, str) and value.startswith("#")
        else _placed(value, place)
        for key, value in schema.items()
    }


def _written(schema: Mapping[str, Any]) -> str:
    try:
        return orjson.dumps({**schema, "x-guidance": {"whitespace_pattern": _SPACES}}).decode()
    except (TypeError, ValueError) as error:
        raise Refused(f"A schema can't be written as JSON: {error}") from None


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()
