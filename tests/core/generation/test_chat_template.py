"""A model's chat template: what it takes, how it refuses, and that one without an end does not keep a thread."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest

from torchserve.core.generation.chat_template import ChatTemplate, in_thread
from torchserve.core.generation.openai_fields import Refused
from torchserve.core.generation.openai_messages import Tools

pytest.importorskip("transformers")

HI: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
TOOLS = Tools({"f": {}}, [{"type": "function", "function": {"name": "f"}}])
PLAIN = "{% for m in messages %}{{ m.role }}: {{ m.content }};{% endfor %}"
ORDERED = "{% if messages[0].role != 'user' %}{{ raise_exception('the user begins') }}{% endif %}" + PLAIN
WITH_TOOLS = "{% for tool in tools or [] %}[{{ tool.function.name }}]{% endfor %}" + PLAIN
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}" + PLAIN


def tokenizer(template: Any) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: index for index, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=made)
    fast.chat_template = template
    return fast


async def rendered(
    template: Any, messages: list[dict[str, Any]], tools: Tools | None = None, seconds: float = 60
) -> str:
    fast = tokenizer(template)
    return fast.decode(await ChatTemplate(fast, seconds).render(messages, tools))


@pytest.mark.parametrize(
    ("template", "tools", "text"),
    [
        (PLAIN, None, "user: hi;"),
        (ORDERED, None, "user: hi;"),
        (WITH_TOOLS, None, "user: hi;"),
        (WITH_TOOLS, TOOLS, "[f]user: hi;"),
        ({"default": PLAIN, "tool_use": WITH_TOOLS}, TOOLS, "[f]user: hi;"),
        ({"default": PLAIN, "tool_use": WITH_TOOLS}, None, "user: hi;"),
    ],
)
async def test_a_prompt(template: Any, tools: Tools | None, text: str) -> None:
    assert await rendered(template, HI, tools) == text


@pytest.mark.parametrize(
    ("template", "messages", "tools", "words"),
    [
        (None, HI, None, "no chat template"),
        (PLAIN, HI, TOOLS, "knows no tools"),
        (ORDERED, [{"role": "assistant", "content": "x"}], None, "the user begins"),
        ("{{ nobody.name.first }}", HI, None, "refuses these messages"),
        ("{% for %}", HI, None, "refuses these messages"),
        ("{{ ''.__class__.__mro__ }}", HI, None, "refuses these messages"),
        (PLAIN, [{"role": "user", "content": "\ud800"}], None, "surrogate"),
    ],
)
async def test_what_is_refused(template: Any, messages: Any, tools: Tools | None, words: str) -> None:
    with pytest.raises(Refused, match=words):
        await rendered(template, messages, tools)


async def test_a_template_without_an_end_is_ended() -> None:
    with pytest.raises(Refused, match=r"more than 0\.2 s"):
        await rendered(ENDLESS, HI, seconds=0.2)
    assert await rendered(PLAIN, HI) == "user: hi;", "the thread is free for others"


async def test_the_thread_of_work_without_an_end_is_free_again() -> None:
    begun, ended = threading.Event(), threading.Event()

    def endless() -> None:
        begun.set()
        try:
            while True:
                pass
        finally:
            ended.set()

    for way in ("timeout", "cancelled"):
        begun.clear()
        ended.clear()
        task = asyncio.ensure_future(in_thread(endless, 0.1 if way == "timeout" else 600))
        if way == "cancelled":
            await asyncio.to_thread(begun.wait)
            task.cancel()
        with pytest.raises(TimeoutError if way == "timeout" else asyncio.CancelledError):
            await task
        if begun.is_set():  # with no free thread it never began
            assert await asyncio.to_thread(ended.wait, 600)


TRACED = """
import asyncio, sys, threading
from torchserve.core.generation.chat_template import in_thread

def endless():
    while True:
        pass

async def main():
    try:
        await in_thread(endless, 0.1)
    except TimeoutError:
        sys.settrace(lambda *event: None)
        print("".join(each for each in "ended"))

asyncio.run(main())
"""


def test_an_interruption_leaves_no_trace_in_the_interpreter() -> None:
    """One that was withdrawn stayed signalled for all threads in CPython 3.11, where a debugger's next call hung."""
    found = subprocess.run([sys.executable, "-c", TRACED], capture_output=True, text=True, timeout=120, check=False)
    assert found.stdout == "ended\n", found.stderr


async def test_work_that_was_done_in_time_is_not_interrupted() -> None:
    assert [await in_thread(lambda each=each: each, 600) for each in range(50)] == list(range(50))
    with pytest.raises(ValueError, match="its own"):
        await in_thread(lambda: int("its own"), 600)


def test_a_format_that_is_not_known_is_refused() -> None:
    with pytest.raises(Refused, match="can't read"):
        ChatTemplate(tokenizer("{{ tools }}[TOOL_CALLS]"), 1).tool_format(TOOLS)
