"""Which endpoint answers which method and path, per api."""

from __future__ import annotations

from functools import partial

import pytest

from torchserve.core.errors import MethodNotAllowed, RouteNotFound
from torchserve.http.api import health, inference, management, metrics, openai
from torchserve.http.message.request import BrokenEncoding
from torchserve.http.openapi import document as openapi
from torchserve.http.routes import ROUTES
from torchserve.http.routing import table as table_module
from torchserve.http.routing.route import Api, Endpoint, Route
from torchserve.http.routing.table import Table, _matches

from .doubles import running_front

ALL: set[Api] = {"inference", "management", "metrics"}


def find(table: Table, method: str, path: str) -> tuple[Endpoint, dict[str, str], Route]:
    return table.find(method, path, table.look_up(path))


@pytest.mark.parametrize(
    ("method", "path", "endpoint", "params"),
    [
        ("GET", "/ping", inference.ping, {}),
        ("DELETE", "/ping/", inference.ping, {}),
        ("GET", "/models", management.list_models, {}),
        ("GET", "/models/", management.list_models, {}),
        ("POST", "/models", management.register, {}),
        ("GET", "/models/m", management.describe, {"model": "m"}),
        ("GET", "/models/m/all", management.describe, {"model": "m", "version": "all"}),
        ("PUT", "/models/a%20b/", management.scale, {"model": "a b"}),
        ("PUT", "/models/m/1.0", management.scale, {"model": "m", "version": "1.0"}),
        ("DELETE", "/models/m/1.0/", management.unregister, {"model": "m", "version": "1.0"}),
        ("PUT", "/models/m/1.0/set-default", management.set_default, {"model": "m", "version": "1.0"}),
        ("PUT", "/models/m/traffic", management.set_traffic, {"model": "m"}),
        ("DELETE", "/models/m/traffic", management.clear_traffic, {"model": "m"}),
        ("POST", "/health/ready/", health.ready, {}),
        ("GET", "/v1/models", openai.models, {}),
        ("GET", "/v1/models/m", openai.model, {"model": "m"}),
        ("GET", "/metrics", metrics.read, {}),
        ("POST", "/metrics/a/b", metrics.read, {"rest": "a/b"}),
    ],
)
def test_found(method: str, path: str, endpoint: object, params: dict[str, str]) -> None:
    assert find(Table(ALL, ROUTES), method, path)[:2] == (endpoint, params)


@pytest.mark.parametrize(
    ("method", "path", "document", "params"),
    [
        ("OPTIONS", "/", openapi.server, {}),
        ("GET", "/api-description", openapi.server, {}),
        ("OPTIONS", "/predictions/m", openapi.predictions, {"model": "m"}),
        ("OPTIONS", "/v1/models/a%20b:predict", openapi.predictions, {"model": "a b"}),
        ("OPTIONS", "/models/m", openapi.model, {"model": "m"}),
    ],
)
@pytest.mark.parametrize("apis", [ALL, {"inference", "management"}])
def test_a_document_is_made_of_the_rows_of_its_listener(
    method: str, path: str, document: object, params: dict[str, str], apis: set[Api]
) -> None:
    table = Table(apis, ROUTES)
    endpoint, found, _ = find(table, method, path)
    assert isinstance(endpoint, partial)
    assert (endpoint.func, found) == (document, params)
    assert endpoint.args == (table.routes,)


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("POST", "/", MethodNotAllowed),
        ("POST", "/models/m", MethodNotAllowed),
        ("PATCH", "/models", MethodNotAllowed),
        ("GET", "/models/m/1.0/set-default", MethodNotAllowed),
        ("GET", "/nothing", RouteNotFound),
        ("POST", "/predictions/", RouteNotFound),
        ("GET", "/models/m/1.0/other", RouteNotFound),
        ("GET", "/ping/x", RouteNotFound),
        ("GET", "*", RouteNotFound),
        ("GET", "/predictions/m", RouteNotFound),  # a prediction is looked up before the table
        ("GET", "//models", RouteNotFound),
        ("GET", "/models/%zz", BrokenEncoding),
        ("GET", "/nothing%z", BrokenEncoding),
    ],
)
def test_refused(method: str, path: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        find(Table(ALL, ROUTES), method, path)


@pytest.mark.parametrize(("api", "path"), [("inference", "/models"), ("management", "/ping"), ("metrics", "/models")])
def test_an_api_has_only_its_own_routes(api: Api, path: str) -> None:
    with pytest.raises(RouteNotFound):
        find(Table({api}, ROUTES), "GET", path)


def test_every_row_is_documented_and_unique() -> None:
    assert len({(route.api, route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert all(route.operation.summary for route in ROUTES)


@pytest.mark.parametrize("path", ["/models", "/predictions/m", "/nothing", "/ping"])
async def test_the_path_of_a_request_is_matched_once(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    looked: list[str] = []
    monkeypatch.setattr(table_module, "_matches", lambda rows, path: looked.append(path) or _matches(rows, path))
    async with running_front() as h:
        await h.say(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert looked == [path]
