"""The management api: what reaches the control plane, and what its outcomes and errors look like outside."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
import yarl

from torchserve.core import errors
from torchserve.core.controlplane import Outcome
from torchserve.core.registration import RegisterRequest
from torchserve.http.api.management import NUMBERS

from ..doubles import FakeControlPlane, running_front


async def call(control: FakeControlPlane, method: str, path: str, **options: Any) -> tuple[int, Any]:
    front_options = options.pop("front_options", {})
    async with running_front(control=control, **front_options) as h, aiohttp.ClientSession() as client:
        async with client.request(method, h.url(path, "management"), **options) as response:
            assert response.content_type == "application/json"
            text = await response.text()
            assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"
            return response.status, json.loads(text)


FULL = RegisterRequest(
    url="m.mar", model_name="x", handler="h.py", runtime="python3", batch_size=2, max_batch_delay=30, initial_workers=1,
    synchronous=False, response_timeout=5, startup_timeout=0,
)  # fmt: skip
FULL_QUERY = (
    "url=m.mar&model_name=x&handler=h.py&runtime=python3&batch_size=2&max_batch_delay=30&initial_workers=1"
    "&synchronous=false&response_timeout=5&startup_timeout=0"
)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("url=m.mar", RegisterRequest(url="m.mar")),
        (FULL_QUERY, FULL),
        ("url=", RegisterRequest(url="")),
        ("url=http%3A%2F%2Fh%2Fa%2Bb.mar%3Fx%3D1", RegisterRequest(url="http://h/a+b.mar?x=1")),
        ("url=m&batch_size=dd&max_batch_delay=junk&initial_workers=-1", RegisterRequest(url="m", initial_workers=-1)),
        ("url=m&batch_size=1.5&response_timeout=1e9&startup_timeout=0x9", RegisterRequest(url="m")),
        ("url=m&synchronous=TRUE", RegisterRequest(url="m", synchronous=True)),
        ("url=m&synchronous=-1", RegisterRequest(url="m", synchronous=False)),
        ("url=m&model_name=&handler=&runtime=", RegisterRequest(url="m")),
        ("url=a&url=b", RegisterRequest(url="b")),
    ],
)
async def test_registering_by_query(query: str, expected: RegisterRequest) -> None:
    control = FakeControlPlane(result=Outcome('Model "m" Version: 1.0 registered with 0 initial workers'))
    async with running_front(control=control) as h, aiohttp.ClientSession() as client:
        url = yarl.URL(h.url(f"/models?{query}", "management"), encoded=True)
        async with client.post(url) as response:
            assert response.status == 200
            assert await response.json() == {"status": 'Model "m" Version: 1.0 registered with 0 initial workers'}
    assert control.calls == [("register", expected)]


@pytest.mark.parametrize(
    ("body", "query", "expected"),
    [
        (
            {"url": "m.mar", "batch_size": 2, "initial_workers": "3"},
            "",
            RegisterRequest(url="m.mar", batch_size=2, initial_workers=3),
        ),
        ({"url": "m.mar", "synchronous": False, "handler": None}, "", RegisterRequest(url="m.mar", synchronous=False)),
        ({"batch_size": 2}, "?url=q.mar&batch_size=9", RegisterRequest(url="q.mar", batch_size=2)),
    ],
)
async def test_registering_by_json(body: Any, query: str, expected: RegisterRequest) -> None:
    control = FakeControlPlane()
    assert await call(control, "POST", f"/models{query}", json=body) == (200, {"status": "fine"})
    assert control.calls == [("register", expected)]


@pytest.mark.parametrize(("method", "path"), [("POST", "/models"), ("PUT", "/models/m")])
async def test_parameters_have_a_bound(method: str, path: str) -> None:
    control = FakeControlPlane()
    body = {"url": "m.mar", "x": "y" * 65_000}
    assert (await call(control, method, path, json=body))[0] == 200
    status, answer = await call(control, method, path, json=body | {"z": "y" * 1000})
    assert status == 413
    assert answer["message"].endswith(" bytes and at most 65536 are accepted.")


async def test_a_json_content_type_without_a_body_leaves_the_query() -> None:
    control = FakeControlPlane()
    headers = {"content-type": "application/json"}
    assert (await call(control, "POST", "/models?url=m", headers=headers))[0] == 200
    assert control.calls == [("register", RegisterRequest(url="m"))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Parameter url is required."),
        ({"json": {}}, "Parameter url is required."),
        ({"json": {"url": None}}, "Parameter url is required."),
        ({"json": [1]}, "The JSON body must be an object of parameters."),
        ({"json": {"url": ["m.mar"]}}, "Parameter url is required."),
        (
            {"data": b'{"url":' + b"[" * 1000 + b"]" * 1000 + b"}", "headers": {"content-type": "application/json"}},
            "Parameter url is required.",
        ),
        ({"data": b"{oops", "headers": {"content-type": "application/json"}}, "Malformed JSON in body: "),
        ({"data": b'{"url": NaN}', "headers": {"content-type": "application/json"}}, "Malformed JSON in body: "),
    ],
)
async def test_registrations_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    control = FakeControlPlane()
    status, body = await call(control, "POST", "/models", **options)
    assert (status, body["code"], body["type"]) == (400, 400, "BadRequestException")
    assert body["message"].startswith(message)
    assert control.calls == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/models/m", ("scale", "m", None, 1, None, False)),
        ("/models/m/", ("scale", "m", None, 1, None, False)),
        ("/models/m?min_worker=3", ("scale", "m", None, 3, None, False)),
        ("/models/m/2.0?min_worker=0&max_worker=4&synchronous=true", ("scale", "m", "2.0", 0, 4, True)),
        ("/models/m?min_worker=nan&synchronous=Nan&number_gpu=10&timeout=-1", ("scale", "m", None, 1, None, False)),
        ("/models/m?model_version=3.0&min_worker=-1&max_worker=-1", ("scale", "m", "3.0", -1, -1, False)),
    ],
)
async def test_scaling(path: str, expected: tuple[Any, ...]) -> None:
    control = FakeControlPlane(result=Outcome("Processing worker updates...", done=False))
    assert await call(control, "PUT", path) == (202, {"status": "Processing worker updates..."})
    assert control.calls == [expected]


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("DELETE", "/models/m", ("unregister", "m", None)),
        ("DELETE", "/models/m/?synchronous=nan&timeout=true", ("unregister", "m", None)),
        ("DELETE", "/models/m/1.0", ("unregister", "m", "1.0")),
        ("PUT", "/models/m/1.0/set-default", ("set_default", "m", "1.0")),
        (
            "PUT",
            "/models/m/traffic?1.0=90&2.0=10&sticky=x-u",
            ("set_traffic", "m", {"1.0": "90", "2.0": "10", "sticky": "x-u"}),
        ),
        ("DELETE", "/models/m/traffic", ("set_traffic", "m", None)),
        ("DELETE", "/models/m/cache", ("purge", "m", None)),
        ("DELETE", "/models/m/1.0/cache", ("purge", "m", "1.0")),
        ("GET", "/models/m", ("describe", "m", None, False)),
        ("GET", "/models/m/all", ("describe", "m", "all", False)),
        ("GET", "/models/m/1.0?customized=true", ("describe", "m", "1.0", True)),
        ("GET", "/models", ("list_models", 100, 0)),
        ("GET", "/models?limit=2&next_page_token=4", ("list_models", 2, 4)),
        ("GET", "/models?limit=&next_page_token=", ("list_models", 100, 0)),
        ("GET", "/models?limit=101&next_page_token=-1", ("list_models", 100, 0)),
        ("GET", "/models?limit=-1", ("list_models", 100, 0)),
        ("GET", "/models?limit=0", ("list_models", 0, 0)),
    ],
)
async def test_the_other_verbs(method: str, path: str, expected: tuple[Any, ...]) -> None:
    plain = expected[0] in {"describe", "list_models"}
    control = FakeControlPlane(result=[{"modelName": "é", "workers": []}] if plain else Outcome("it is so"))
    status, body = await call(control, method, path)
    assert (status, body) == (200, control.result if plain else {"status": "it is so"})
    assert control.calls == [expected]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/models?url=m"),
        ("PUT", "/models/m"),
        ("DELETE", "/models/m"),
        ("GET", "/models/m"),
        ("PUT", "/models/m/1/set-default"),
        ("PUT", "/models/m/traffic?1.0=100"),
        ("DELETE", "/models/m/traffic"),
    ],
)
@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.ModelNotFound("m"), 404, "ModelNotFoundException"),
        (errors.AlreadyRegistered("m", "1.0"), 409, "ConflictStatusException"),
        (errors.WorkersFailed("no", out_of_memory=True), 507, "InternalServerException"),
        (errors.DefaultVersionInUse("m"), 403, "InvalidModelVersionException"),
        (errors.VersionInTraffic("m", "1.0", 5), 409, "ConflictStatusException"),
        (ConnectionRefusedError("secret"), 500, "InternalServerException"),
        (TimeoutError("secret"), 500, "InternalServerException"),
    ],
)
async def test_errors_of_the_control_plane(method: str, path: str, error: Exception, status: int, kind: str) -> None:
    answered, body = await call(FakeControlPlane(result=error), method, path)
    assert (answered, body["code"], body["type"]) == (status, status, kind)
    assert "secret" not in body["message"]


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/models?url=m"), ("DELETE", "/models/m"), ("DELETE", "/models/m/1.0")]
)
async def test_without_the_model_api_nothing_is_registered_or_removed(method: str, path: str) -> None:
    control = FakeControlPlane()
    status, body = await call(control, method, path, front_options={"model_api": False})
    assert (status, body["type"]) == (405, "MethodNotAllowedException")
    assert body["message"] == "Requested method is not allowed, please refer to API document."
    assert control.calls == []


async def test_the_rest_of_management_works_without_the_model_api() -> None:
    assert (await call(FakeControlPlane(), "PUT", "/models/m", front_options={"model_api": False}))[0] == 200


@pytest.mark.parametrize(
    "text",
    ["2147483648", "-2147483649", "9" * 19, "-" + "9" * 19, "1" * 5000],
    ids=["2^31", "-2^31-1", "19", "-19", "5000"],
)
@pytest.mark.parametrize("name", NUMBERS)
async def test_a_number_that_32_bits_do_not_hold_is_refused_by_its_name_and_range(name: str, text: str) -> None:
    """Each number of the API, in a query and in a JSON body."""
    method, path = {
        "min_worker": ("PUT", "/models/m"),
        "max_worker": ("PUT", "/models/m"),
        "seconds": ("POST", "/models/m/profile"),
    }.get(name, ("POST", "/models"))
    if name in {"limit", "next_page_token"}:
        method, path = "GET", "/models"
    control = FakeControlPlane(result=Outcome("done"))
    said = f"{name} must be a whole number from {NUMBERS[name]} to 2147483647, not {text[:40]}."
    async with running_front(control=control) as h, aiohttp.ClientSession() as client:
        tries: list[dict[str, Any]] = [{"params": {"url": "m", name: text[:1000]}}]
        if method != "GET":
            tries.append({"json": {"url": "m", name: text}})
        for given in tries:
            async with client.request(method, h.url(path, "management"), **given) as response:
                assert (response.status, (await response.json())["message"]) == (400, said)
    assert control.calls == []
