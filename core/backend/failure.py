"""failure_of(): describes what a handler raised, so that its author finds the place: kind, text, line, traceback."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from ..wire.messages import Failure

_TAIL = 8000  # the last characters of a traceback that are kept


def failure_of(error: BaseException, model_dir: str) -> Failure:
    """Return the description of `error`. Never raises, whatever the exception's own methods do."""
    file, line = place(error, model_dir)
    return Failure(type(error).__name__, sendable(text_of(error))[:_TAIL], sendable(file), line, tail(detail(error)))


def out_of_memory(error: BaseException) -> bool:
    """Return True for MemoryError, torch's OutOfMemoryError, and, as TorchServe, any text that mentions CUDA."""
    if isinstance(error, MemoryError) or any(cls.__name__ == "OutOfMemoryError" for cls in type(error).__mro__):
        return True
    return isinstance(error, Exception) and "CUDA" in text_of(error)


def place(error: BaseException, model_dir: str) -> tuple[str, int]:
    """Return (file in the model's folder, line) of the innermost frame in the model's own code; ("", 0) if none."""
    if isinstance(error, SyntaxError) and error.filename and _inside(error.filename, model_dir):
        return os.path.relpath(error.filename, model_dir), error.lineno or 0
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if _inside(frame.filename, model_dir)]
    return (os.path.relpath(own[-1].filename, model_dir), own[-1].lineno or 0) if own else ("", 0)


def where(failure: Failure) -> str:
    """Return the place of a failure in parentheses, "" if it is not in the model's own code."""
    return f" ({failure.file}:{failure.line})" if failure.file else ""


def print_traceback(text: str) -> None:
    """Write to stderr, which the handler may have replaced or closed: the answer must be sent all the same."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(sendable(text))
        sys.stderr.flush()


def sendable_notes(notes: Mapping[str, str]) -> dict[str, str]:
    """Return a handler's notes as texts that can be sent."""
    return {sendable(str(subject)): sendable(str(note)) for subject, note in notes.items()}


def detail(error: BaseException) -> str:
    """Return the traceback as Python prints it."""
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001  (an exception whose __str__ or __cause__ is broken)
        return f"{type(error).__name__}\n"


def describe(error: BaseException) -> str:
    """Return one line with the type and the text."""
    text = " ".join(text_of(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def tail(text: str) -> str:
    text = sendable(text)
    return text if len(text) <= _TAIL else f"…{text[-_TAIL:]}"


def sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def text_of(value: object) -> str:
    """Return str(value), "" if its own __str__ fails."""
    try:
        return str(value)
    except BaseException:  # noqa: BLE001  a handler's class may raise anything
        return ""


def _inside(file: str, model_dir: str) -> bool:
    return Path(file).is_relative_to(model_dir)
