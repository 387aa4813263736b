"""Answers made comparable: what differs from run to run (ids, times, ports, folders, host) gets a name in its place."""

from __future__ import annotations

import base64
import json
import re
import socket
from collections.abc import Mapping
from typing import Any

_PATTERNS = [
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "<uuid>"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "<hex>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,]\d{3}(Z?)"), r"<time>\1"),
    (re.compile(r"timestamp:\d{10}"), "timestamp:<s>"),
    (re.compile(r'"pid": [1-9]\d*'), '"pid": "<pid>"'),
    (re.compile(r'"id": "9\d{3}"'), '"id": "<worker>"'),
    (re.compile(r'"memoryUsage": \d+'), '"memoryUsage": "<bytes>"'),
    (re.compile(r"/(127\.0\.0\.1|0:0:0:0:0:0:0:1):\d+"), r"/\1:<port>"),
]


class Namer:
    """Puts names for what belongs to one run: its folder, ports, installation."""

    def __init__(self, known: Mapping[str, str], version: str) -> None:
        pairs = [*known.items(), (socket.gethostname(), "<host>"), (version, "<version>")]
        self._known = sorted(pairs, key=lambda pair: -len(pair[0]))

    def text(self, text: str) -> str:
        for value, name in self._known:
            text = re.sub(rf"(?<![\w.]){re.escape(value)}(?![\w]|\.\d)", name, text)
        for pattern, name in _PATTERNS:
            text = pattern.sub(name, text)
        return text

    def answer(self, answer: dict[str, Any]) -> dict[str, Any]:
        """An answer of the wire as plain data; `form` tells how its JSON was laid out."""
        headers = {name: self.text(value) for name, value in sorted(answer["headers"].items())}
        text, form = self.body(answer["body"])
        if "content-length" in headers:  # the body was read by it: it is right
            headers["content-length"] = "<length>"
        plain = {"status": answer["status"], "reason": answer["reason"], "headers": headers, "form": form, "body": text}
        if answer["chunks"]:
            plain["chunks"] = [self.body(chunk)[0] for chunk in answer["chunks"]]
        return plain

    def body(self, body: bytes) -> tuple[Any, str]:
        try:
            text = self.text(body.decode())
        except UnicodeDecodeError:
            return base64.b64encode(body).decode(), "bytes"
        if text[:1] in {"{", "["}:
            try:
                parsed = json.loads(text)
            except ValueError:
                return text, "text"
            return parsed, layout(text, parsed)
        return text, "text"


def layout(text: str, parsed: Any) -> str:
    """Pretty-printed with two spaces, with or without a newline behind it, or otherwise."""
    for ascii_only in (False, True):
        pretty = json.dumps(parsed, indent=2, ensure_ascii=ascii_only)
        if text == pretty + "\n":
            return "json, pretty, newline"
        if text == pretty:
            return "json, pretty"
    return "json"


def outline(document: dict[str, Any]) -> dict[str, Any]:
    """Version and operations of an OpenAPI document: path and method -> id, parameters, statuses."""
    found = {}
    for path, methods in sorted(document.get("paths", {}).items()):
        for method, told in sorted(methods.items()):
            parameters = sorted(
                f"{p['name']} in {p['in']}{', required' if p.get('required') else ''}"
                for p in told.get("parameters", [])
            )
            found[f"{method.upper()} {path}"] = {
                "id": told.get("operationId"), "parameters": parameters, "statuses": sorted(told.get("responses", {})),
            }  # fmt: skip
    return {"openapi": document.get("openapi"), "title": document.get("info", {}).get("title"), "operations": found}


def scrape(text: str, families: str, exact: str) -> list[str]:
    """Lines of a Prometheus text about matching families, sorted, with `<n>` for values that are not to be exact."""
    kept = []
    for line in text.splitlines():
        name = line.split()[2] if line.startswith("# ") else re.split(r"[{ ]", line)[0]
        if re.fullmatch(families, name) and not name.startswith("torchserve_"):  # ours, beside TorchServe's
            kept.append(line if line.startswith("#") or re.fullmatch(exact, name) else line.rpartition(" ")[0] + " <n>")
    return sorted(kept)
