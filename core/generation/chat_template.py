"""ChatTemplate: a model's own template, which turns messages and tools into the tokens of a prompt.

A template is a program of the model's folder. transformers runs it in jinja's sandbox, which keeps it from files and
modules but not from running for ever, so it runs in a thread and is interrupted there once its time is over.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from .openai_fields import Refused
from .openai_messages import Tools
from .tool_calls import ToolFormat, tool_format

_R = TypeVar("_R")


class ChatTemplate:
    """The chat template of a tokenizer. It may take `seconds`."""

    def __init__(self, tokenizer: Any, seconds: float) -> None:
        self._tokenizer = tokenizer
        self._seconds = seconds

    async def render(self, messages: Sequence[Mapping[str, Any]], tools: Tools | None) -> list[int]:
        """Return the tokens of the prompt. Raises Refused."""
        source = self._source(tools)
        if not source:
            raise Refused("This model has no chat template: use v1/completions.", "messages")
        if tools is not None and "tools" not in source:
            raise Refused("This model's chat template knows no tools.", "tools", "unsupported_parameter")
        try:
            return await in_thread(lambda: self._tokens(messages, tools), self._seconds)
        except TimeoutError:
            text = f"The model's chat template took more than {self._seconds:g} s."
            raise Refused(text, "messages") from None

    def tool_format(self, tools: Tools) -> ToolFormat:
        """Return how the model writes calls of tools. Raises Refused."""
        found = tool_format(self._source(tools))
        if found is None:
            raise Refused(
                "This model's chat template takes tools, and writes calls in a format that this server can't read.",
                "tools", "unsupported_parameter",
            )  # fmt: skip
        return found

    def _source(self, tools: Tools | None) -> str:
        """Return the template; a model may have one more for tools."""
        given = self._tokenizer.chat_template
        if isinstance(given, Mapping):
            return str((tools and given.get("tool_use")) or given.get("default") or "")
        return str(given or "")

    def _tokens(self, messages: Sequence[Mapping[str, Any]], tools: Tools | None) -> list[int]:
        more: dict[str, Any] = {"tools": list(tools.told)} if tools else {}
        try:
            text = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, **more)
            _ = text.encode()
        except _Overtime:
            raise
        except UnicodeEncodeError:
            raise Refused("A message has a lone surrogate, which is no character.", "messages") from None
        except Exception as error:  # noqa: BLE001  a template may raise anything, most often on the order of roles
            raise Refused(f"The model's chat template refuses these messages: {error}"[:1000], "messages") from None
        return list(self._tokenizer.encode(text, add_special_tokens=False))


class _Overtime(BaseException):
    """The exception that interrupts a thread. Templates and libraries catch `Exception` and not this one."""


async def in_thread(work: Callable[[], _R], seconds: float) -> _R:
    """Return what `work` returns in another thread. Raises TimeoutError after `seconds`, and ends the thread's work.

    Python code is interrupted at its next instruction, also if this call is cancelled; a single operation in C is not.
    """
    interruptible = _Interruptible(work)
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.to_thread(interruptible.run)
    finally:
        interruptible.interrupt()


class _Interruptible:
    """A piece of work that one thread does and another can interrupt."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._thread: int | None = None  # while the work runs
        self._stopped = False

    def run(self) -> Any:
        """Return what the work returns. Raises TimeoutError if it was interrupted."""
        with self._lock:
            if self._stopped:
                raise TimeoutError
            self._thread = threading.get_ident()
        try:
            try:
                return self._work()
            finally:
                with self._lock:
                    self._thread = None
                # An interruption that is still on its way comes at the next jump: nothing that this thread does later
                # may get it. It is not withdrawn, or CPython 3.11 would look for it at each jump from then on.
                for _ in range(10):
                    pass
        except _Overtime:
            raise TimeoutError from None

    def interrupt(self) -> None:
        """End the work if it runs, and keep it from starting."""
        with self._lock:
            self._stopped = True
            if self._thread is not None:
                _raise_in(self._thread, _Overtime)


def _raise_in(thread: int, kind: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind))
