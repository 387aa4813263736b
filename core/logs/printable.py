"""Escapes text for a line of a log: what could end the line, hide it or steer a terminal.

Names, URLs, header values and what handlers print come from others. Line breaks in them could forge lines that look
like ours; with ESC, CR or marks of direction a terminal could show something else than what is in the file.
"""

from __future__ import annotations

import re

# Controls except tab; line and paragraph separators; marks and overrides of direction; lone surrogates.
_UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_NAMES = {"\n": "\\n", "\r": "\\r"}
BEHIND = "\n    "  # continues a message on further lines: no line of ours begins with a space


def one_line(text: str) -> str:
    """Return `text` with escapes for unprintable characters, line breaks included."""
    return text if text.isprintable() else _UNSAFE.sub(_escape, text)


def lines(text: str) -> str:
    """Return `text` with escapes for unprintable characters, line breaks excepted."""
    return text if text.isprintable() else "\n".join(map(one_line, text.split("\n")))


def indented(text: str) -> str:
    """Return `text` with all lines but the first indented, so that none of them looks like a line of the log."""
    return text.replace("\n", BEHIND)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    number = ord(character)
    return _NAMES.get(character) or (f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")
