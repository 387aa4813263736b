"""Calls of tools in the text of a model: how a model writes them, and the text as it comes parted into words and calls.

A chat template tells the model how to write a call; nothing tells a server. So the formats are known here by what the
template says of them:

    Hermes, Qwen, SmolLM3   <tool_call>{"name": "f", "arguments": {…}}</tool_call>, any number, after any words
    Llama 3                 {"name": "f", "parameters": {…}}, the whole text
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import orjson

from .text_stream import overlap


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """A way to write calls: `begin` and `end` are around all calls and `between` two, `arguments` is their field.

    The first word of `begin` opens a call, and the last one of `end` closes it; without, the call is the whole text.
    """

    begin: str
    between: str
    end: str
    arguments: str

    @property
    def opening(self) -> str:
        return self.begin.strip()

    @property
    def closing(self) -> str:
        return self.end.strip()


HERMES = ToolFormat("<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>", "arguments")
LLAMA = ToolFormat("", "; ", "", "parameters")


def tool_format(template: str) -> ToolFormat | None:
    """Return how the model of this chat template writes calls; None if it knows no tools, or writes in another way."""
    if "tools" not in template:
        return None
    if "<tool_call>" in template and "arguments" in template and "<function=" not in template:
        return HERMES
    return LLAMA if '{"name":' in template and '"parameters":' in template else None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool; `arguments` is JSON."""

    name: str
    arguments: str


@dataclass(slots=True)
class ToolCallStream:
    """The text of one sequence, parted as it comes. Text that is no call of one of the tools `names` stays text."""

    form: ToolFormat
    names: Collection[str]
    calls: list[ToolCall] = field(default_factory=list)
    _held: str = ""
    _spoken: bool = False  # words have come, so that what follows is no call either

    def add(self, text: str, *, last: bool = False) -> tuple[str, list[ToolCall]]:
        """Return what is certain: words, and calls that are complete."""
        self._held += text
        found = self._marked(last=last) if self.form.opening else self._bare(last=last)
        self.calls += found[1]
        return found

    def _marked(self, *, last: bool) -> tuple[str, list[ToolCall]]:
        words: list[str] = []
        calls: list[ToolCall] = []
        opening, closing = self.form.opening, self.form.closing
        while (at := self._held.find(opening)) >= 0:
            end = self._held.find(closing, at)
            if end < 0 and not last:
                break
            call = self._read(self._held[at + len(opening) : end if end >= 0 else None])
            beyond = end + len(closing) if end >= 0 else len(self._held)
            words.append(self._held[:at].rstrip() if call else self._held[:beyond])
            calls += [call] if call else []
            self._held = self._held[beyond:]
        if last:
            rest, self._held = self._held, ""
            return "".join([*words, rest if rest.strip() or not (calls or self.calls) else ""]), calls
        certain = self._held[: at if at >= 0 else len(self._held) - overlap(self._held, opening)]
        certain = certain.rstrip()  # the breaks of lines before a call are no words
        self._held = self._held[len(certain) :]
        return "".join([*words, certain]), calls

    def _bare(self, *, last: bool) -> tuple[str, list[ToolCall]]:
        begun = self._held.lstrip()
        if not (last or self._spoken or (begun and begun[0] != "{")):
            return "", []
        text, self._held = self._held, ""
        written = text.split("; {") if begun.startswith("{") and not self._spoken else []
        self._spoken = True
        calls = [self._read(("{" if index else "") + each) for index, each in enumerate(written)]
        found = [each for each in calls if each]
        return ("", found) if found and len(found) == len(calls) else (text, [])

    def _read(self, written: str) -> ToolCall | None:
        try:
            call = orjson.loads(written)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(call, dict) or call.get("name") not in self.names:
            return None
        arguments = call.get(self.form.arguments, {})
        return ToolCall(call["name"], arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode())
