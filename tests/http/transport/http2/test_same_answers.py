"""Every row of the table, asked over HTTP/1.1 and over HTTP/2: the answers are the same, and so is what is written down."""

from __future__ import annotations

import re
from pathlib import Path
from time import time
from typing import Any

import httpx
import pytest

from torchserve.core.controlplane import Outcome
from torchserve.core.key_file import KeyFile
from torchserve.core.tokens import Tokens
from torchserve.http.auth import TokenAuth
from torchserve.http.cors import Cors
from torchserve.http.routes import ROUTES

from ...doubles import running_front

OURS = re.compile(r"x-request-id|connection", re.IGNORECASE)
METHODS = ("GET", "POST", "DELETE", "OPTIONS", "HEAD")
WRONG = ("/", "/nope", "/predictions/%zz", "/predictions/nobody", "/models?limit=x", "/predictions/m/9", "/models/%zz")
HEADERS: dict[str, dict[str, str]] = {
    "plain": {},
    "cors": {"origin": "https://a.example", "access-control-request-method": "POST"},
    "foreign": {"origin": "https://evil.example"},
    "another host": {"host": "evil.example"},
    "json": {"content-type": "application/json"},
    "late": {"x-request-timeout-ms": "never"},
}
ASKED = [("plain", "none"), ("plain", "tokens"), ("cors", "cors"), ("foreign", "none"), ("another host", "none"),
         ("json", "none"), ("late", "none")]  # fmt: skip


def paths(api: str) -> list[str]:
    # A version that there is: that there is none may be said before or after what is wrong with a body, as packets come.
    rows = {
        re.sub(r"\{\w+(\.\.\.)?\}", lambda found: "r/est" if found[1] else "m", row.path.replace("{version}", "1.0"))
        for row in ROUTES
        if row.api == api
    }
    return sorted(rows.union(WRONG))


def shown(answer: httpx.Response) -> tuple[object, ...]:
    fields = sorted((name, value) for name, value in answer.headers.items() if not OURS.fullmatch(name))
    return answer.status_code, fields, re.sub(rb"incident \w+", b"", answer.content)


@pytest.mark.parametrize("api", ["inference", "management", "metrics"])
@pytest.mark.parametrize(("which", "policy"), ASKED)
async def test_every_row_answers_as_over_http_1(api: Any, which: str, policy: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"cors": Cors("https://a.example", "GET, POST", "x-a")} if policy == "cors" else {}
    if policy == "tokens":
        file, tokens = KeyFile(tmp_path), Tokens.fresh(60.0, time())
        file.create(tokens.as_json())
        options["token_auth"] = TokenAuth(tokens, file)
    async with running_front(**options) as h:
        h.control.result = Outcome("fine")
        base = h.url("", api)
        async with (
            httpx.AsyncClient(base_url=base) as old,
            httpx.AsyncClient(base_url=base, http1=False, http2=True) as new,
        ):
            for path in paths(api):
                for method in METHODS:
                    asked = [
                        await each.request(method, path, content=b"{}", headers=HEADERS[which]) for each in (old, new)
                    ]
                    assert shown(asked[0]) == shown(asked[1]), (method, path)
                    assert [each.http_version for each in asked] == ["HTTP/1.1", "HTTP/2"]
        lines = [(entry.method, entry.target, entry.status) for entry in h.log]
        assert lines[::2] == lines[1::2]
        assert [entry.version for entry in h.log[:2]] == ["1.1", "2.0"]
        assert ' HTTP/2.0" ' in h.log[1].text()
