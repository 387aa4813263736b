"""The dashboard's routes: who may ask, where, and what the documents say of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openapi_spec_validator import validate

from torchserve.core.config.address import Address
from torchserve.http.api.dashboard import endpoints
from torchserve.http.openapi.document import document
from torchserve.http.routes import ROUTES, dashboard_routes

from ..doubles import FakeOverview, RunningFront, running_front
from ..test_auth import front_with_keys

FOREIGN = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}


async def ask(h: RunningFront, path: str, method: str = "GET", **options: Any) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as client:
        async with client.request(method, h.url(path, "management"), **options) as response:
            return response.status, await response.read()


FOLDER = Path(endpoints.__file__).parent
TEXTS = {name: path.read_text() for name, path in endpoints.FILES.items()}


async def test_the_page_and_its_files_need_no_key_and_run_nothing_but_their_own_scripts(tmp_path: Path) -> None:
    async with front_with_keys(tmp_path, overview=FakeOverview()) as d:
        for path in ("/dashboard", *(f"/dashboard/{name}" for name in TEXTS)):
            async with d.client.get(d.h.url(path, "management")) as response:
                assert response.status == 200
                policy = response.headers["Content-Security-Policy"]
                assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
                assert "unsafe" not in policy
                assert "frame-ancestors 'none'" in policy
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert response.content_type.split("/")[1] in {"html", "css", "javascript", "svg+xml"}
                name = path.partition("/dashboard")[2].strip("/") or "index.html"
                assert await response.text() == TEXTS[name]


@pytest.mark.parametrize("path", ["nothing.js", "..%2fmanagement.py", "%2e%2e", "__init__.py", "a/b"])
async def test_no_other_file_is_served(path: str) -> None:
    async with running_front(overview=FakeOverview()) as h:
        assert (
            await h.say(
                f"GET /dashboard/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(), "management"
            )
        )[9:12] == b"404"


async def test_with_a_slash_behind_it_the_page_is_where_its_files_are_found() -> None:
    async with running_front(overview=FakeOverview()) as h, aiohttp.ClientSession() as client:
        async with client.get(h.url("/dashboard/", "management")) as response:
            assert (response.status, response.url.path) == (200, "/dashboard")


def test_each_file_is_in_the_table_and_each_that_is_named_is_there() -> None:
    assert set(TEXTS) == {path.name for path in FOLDER.iterdir() if path.suffix not in {".py", ""}}
    for name, text in TEXTS.items():
        named = re.findall(r"""(?:from ["']\./|dashboard/)([\w-]+\.(?:js|css|svg))["']""", text)
        assert set(named) <= set(TEXTS), name


@pytest.mark.parametrize("name", TEXTS)
def test_what_the_server_tells_can_become_no_markup_and_nothing_is_loaded_from_elsewhere(name: str) -> None:
    text = TEXTS[name]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|DOMParser|srcdoc", text
    )
    assert not re.search(r"""\son\w+\s*=\s*["']|\sstyle\s*=\s*["']|javascript:|<style""", text)
    assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"""["'(]//""", text)


async def test_a_version_and_the_settings_are_told_and_nothing_where_there_is_no_dashboard() -> None:
    settings = [{"key": "k", "value": "v", "origin": "default"}]
    async with running_front(overview=FakeOverview(settings=lambda: settings)) as h:
        status, body = await ask(h, "/dashboard/models/m/1.0")
        assert (status, b'"modelVersion": "1.0"' in body) == (200, True)
        assert (await ask(h, "/dashboard/models/nobody/1.0"))[0] == 404
        assert b'"origin": "default"' in (await ask(h, "/dashboard/settings"))[1]
    async with running_front() as h:
        for path in ("", "main.js", "events", "models/m/1.0", "settings"):
            assert (await ask(h, f"/dashboard/{path}"))[0] == 404


@pytest.mark.parametrize("path", ["", "main.js", "events", "settings", "models/m/1.0", "predictions/m"])
async def test_a_page_of_another_origin_is_refused(path: str) -> None:
    async with running_front(overview=FakeOverview()) as h:
        method = "POST" if "predictions" in path else "GET"
        assert (await ask(h, f"/dashboard/{path}", method, headers=FOREIGN))[0] == 403
        assert h.data.payloads == []


async def test_it_predicts_with_the_key_of_inference_and_no_further_than_inference_can_be_reached(
    tmp_path: Path,
) -> None:
    async with front_with_keys(tmp_path, overview=FakeOverview()) as d:
        for name, status in (("none", 400), ("management", 400), ("inference", 200)):
            found, _ = await d.ask("management", "POST", "/dashboard/predictions/m/1.0", d.key(name))
            assert found == status
        assert d.h.data.targets == [("m", "1.0")]
        assert (await d.ask("management", "GET", "/dashboard/settings", d.key("inference")))[0] == 400
    wider: dict[Any, Address] = {"inference": Address("127.0.0.1", 0), "management": Address("0.0.0.0", 0)}
    async with running_front(overview=FakeOverview(), listen=wider) as h:
        assert (await ask(h, "/dashboard/predictions/m", "POST"))[0] == 404


def test_its_rows_are_documented_and_none_hides_another() -> None:
    rows = dashboard_routes()
    validate(document("t", "v", rows))
    assert len({(row.method, row.path) for row in (*rows, *ROUTES) if row.api == "management"}) == len(
        [row for row in (*rows, *ROUTES) if row.api == "management"]
    )
