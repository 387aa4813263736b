"""The API's pages and what they show: its files, gRPC's services, a model's own inputs, and which operations need a key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from openapi_spec_validator import validate

from torchserve.http.api.docs import endpoints
from torchserve.http.app_context import AppContext
from torchserve.http.front_config import RpcMaker
from torchserve.http.message.sequence_headers import SequenceHeaders
from torchserve.http.openapi.grpc_services import grpc_services
from torchserve.http.openapi.inference_body import inference_body
from torchserve.http.routes import DOCS_ROUTES
from torchserve.http.routing.route import APIS, Api
from torchserve.http.rpc.methods import methods

from ..doubles import FakeControlPlane, FakeOverview, running_front
from ..test_auth import front_with_keys

INPUTS = [
    {"name": "pixels", "datatype": "FP32", "shape": [-1, 3]},
    {"name": "words", "datatype": "BYTES", "shape": [2]},
    {"name": "large", "datatype": "INT64", "shape": [100]},
    {"name": "open"},
]


@pytest.mark.parametrize("api", APIS)
async def test_each_listener_has_the_page_whose_files_are_its_own(api: Api) -> None:
    async with running_front(overview=FakeOverview()) as h, aiohttp.ClientSession() as client:
        for path in ("/docs", "/docs/", *(f"/docs/{name}" for name in endpoints.FILES)):
            async with client.get(h.url(path, api)) as response:
                assert response.status == 200
                assert "script-src 'self'; style-src 'self';" in response.headers["Content-Security-Policy"]
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert await response.read()
        async with client.get(h.url("/docs/..%2fendpoints.py", api)) as response:
            assert response.status == 404
    async with running_front() as h, aiohttp.ClientSession() as client, client.get(h.url("/docs", api)) as response:
        assert response.status == 404


def test_each_file_of_the_folder_is_served_or_told_of() -> None:
    folder = Path(endpoints.__file__).parent
    there = {path.name for path in folder.rglob("*") if path.suffix in {".html", ".js", ".css"}}
    assert there == {name for name in endpoints.FILES if not name.endswith((".proto", ".txt"))}
    named = re.findall(r"(?:src|href)=\"docs/([\w.-]+)\"", (folder / "index.html").read_text())
    assert set(named) <= set(endpoints.FILES)
    assert not re.search(
        r"innerHTML|\son\w+=|\sstyle=", (folder / "index.html").read_text() + (folder / "docs.js").read_text()
    )


@pytest.mark.parametrize("api", ["inference", "management"])
def test_the_services_are_those_that_can_be_called(api: Any) -> None:
    headers = SequenceHeaders("a", "b", "c")
    called = methods([api], headers)
    told = {method["path"].lstrip("/") for service in grpc_services({api}) for method in service["methods"]}
    assert told == {path.lstrip("/") for path in called}


async def test_the_document_of_a_listener_tells_of_grpc_where_that_is_served() -> None:
    def nobody(context: AppContext, apis: Any, reach: Any) -> Any:
        return None

    for rpc in (None, cast(RpcMaker, nobody)):
        async with running_front(rpc=rpc) as h, aiohttp.ClientSession() as client:
            async with client.get(h.url("/api-description")) as response:
                found = await response.json()
        validate(found)
        assert ("x-grpc" in found) == (rpc is not None)


async def test_a_model_whose_inputs_are_known_has_them_in_its_document() -> None:
    control = FakeControlPlane(inputs=INPUTS)
    async with running_front(control=control) as h, aiohttp.ClientSession() as client:
        async with client.options(h.url("/predictions/m")) as response:
            found = await response.json()
    validate(found)
    body = found["paths"]["/v2/models/m/infer"]["post"]["requestBody"]
    assert "pixels: FP32 [-1, 3]" in body["description"]
    assert body["content"]["application/json"]["schema"]["example"]["inputs"] == [
        {"name": "pixels", "datatype": "FP32", "shape": [1, 3], "data": [0.0, 0.0, 0.0]},
        {"name": "words", "datatype": "BYTES", "shape": [2], "data": ["text", "text"]},
        {"name": "large", "datatype": "INT64", "shape": [100], "data": []},
        {"name": "open", "datatype": "FP32", "shape": [1], "data": [0.0]},
    ]
    assert "requestBody" in found["paths"]["/predictions/m"]["post"]
    assert inference_body(INPUTS) == body


async def test_where_keys_are_needed_each_operation_says_whether_it_needs_one(tmp_path: Path) -> None:
    async with front_with_keys(tmp_path) as d, d.client.get(d.h.url("/api-description", "management")) as response:
        found = await response.json()
    validate(found)
    assert found["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
    assert found["paths"]["/models"]["post"]["security"] == [{"key": []}]
    assert "security" not in found["paths"]["/api-description"]["get"]


def test_the_rows_are_on_every_api() -> None:
    assert {(row.api, row.path) for row in DOCS_ROUTES} == {
        (api, path) for api in APIS for path in ("/docs", "/docs/{file}")
    }
