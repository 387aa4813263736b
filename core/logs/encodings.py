"""What `%enc` makes of a text, so that it can stand in HTML, XML, JSON or on one line."""

from __future__ import annotations

import json
from collections.abc import Callable

_BREAKS = {"\r": "\\r", "\n": "\\n"}
_XML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}
_CRLF = str.maketrans(_BREAKS)
_HTML = str.maketrans(_XML | _BREAKS | {"/": "&#x2F;"})
_OF_XML = str.maketrans(_XML)

ENCODINGS: dict[str, Callable[[str], str]] = {
    "HTML": lambda text: text.translate(_HTML),
    "XML": lambda text: text.translate(_OF_XML),
    "JSON": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "CRLF": lambda text: text.translate(_CRLF),
}
