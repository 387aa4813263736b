"""The OpenAPI documents: valid, of every row that answers, and in TorchServe's operation ids, parameters and statuses."""

from __future__ import annotations

import json
import re
from typing import Any

import aiohttp
import pytest
from openapi_spec_validator import validate

from torchserve.core.version import __version__
from torchserve.http.openapi.document import document
from torchserve.http.routes import ROUTES
from torchserve.http.routing.route import ANY, APIS, Api

from ..doubles import running_front

# What the documents of TorchServe 0.12.0 hold: path, method, operation id, parameters, statuses. Where its ids are not
# unique, which the specification forbids, or a document lists what its port does not answer (GET /metrics on the
# inference and management ports), ours differ; and we never answer 210, nor 202 to DELETE.
TORCHSERVE = """
inference OPTIONS / apiDescription - 200,500
inference GET /ping ping - 200,500
inference POST /v1/models/{model_name}:predict - model_name 200,404,500,503
inference POST /v2/models/{model_name}/infer - model_name 200,404,500,503
inference POST /predictions/{model_name} predictions model_name 200,404,500,503
inference POST /predictions/{model_name}/{model_version} version_predictions model_name,model_version 200,404,500,503
inference GET /api-description api-description - 200,500
management OPTIONS / apiDescription - 200,500
management GET /models listModels limit,next_page_token 200,500
management POST /models registerModel url,model_name,handler,runtime,batch_size,max_batch_delay,response_timeout,startup_timeout,initial_workers,synchronous,s3_sse_kms 200,202,400,404,409,500
management GET /models/{model_name} describeModel model_name 200,404,500
management PUT /models/{model_name} setAutoScale model_name,min_worker,max_worker,number_gpu,synchronous,timeout 200,202,400,404,500
management DELETE /models/{model_name} unregisterModel model_name,synchronous,timeout 200,404,408,500
management GET /models/{model_name}/{model_version} version_describeModel model_name,model_version 200,404,500
management PUT /models/{model_name}/{model_version} version_setAutoScale model_name,model_version,min_worker,max_worker,number_gpu,synchronous,timeout 200,202,400,404,500
management DELETE /models/{model_name}/{model_version} version_unregisterModel model_name,model_version,synchronous,timeout 200,404,408,500
management PUT /models/{model_name}/{model_version}/set-default setDefault model_name,model_version 200,404,500
management GET /api-description api-description - 200,500
metrics GET /metrics metrics name[] 200,500
"""  # fmt: skip


def rows(*apis: Api) -> list[Any]:
    return [route for route in ROUTES if route.api in apis]


@pytest.mark.parametrize("line", TORCHSERVE.strip().splitlines())
def test_what_torchserve_documents_is_documented(line: str) -> None:
    api, method, path, operation, parameters, statuses = line.split()
    shown = document("t", "v", rows(api))["paths"][path][method.lower()]  # type: ignore[arg-type]
    if operation != "-":
        assert shown["operationId"] == operation
    if parameters != "-":
        assert {each["name"] for each in shown["parameters"]} >= set(parameters.split(","))
    assert set(shown["responses"]) >= set(statuses.split(","))


@pytest.mark.parametrize("apis", [*((api,) for api in APIS), APIS, ("inference", "management")])
def test_every_document_is_valid_and_has_every_row(apis: tuple[Api, ...]) -> None:
    made = document("t", "v", rows(*apis))
    validate(made)
    shown = {(path, method) for path, methods in made["paths"].items() for method in methods}
    documented = re.sub(r"\{(\w+)\}", "{}", json.dumps(sorted(path for path, _ in shown)))
    for route in rows(*apis):
        path = re.sub(r"\{[^}]+\}", "{}", route.path)
        assert json.dumps(path) in documented
    methods = {route.operation.method if route.method == ANY else route.method for route in rows(*apis)}
    assert {method for _, method in shown} == {method.lower() for method in methods}
    assert len(shown) == len({(route.path, route.method) for route in rows(*apis)})


async def fetch(path: str, api: Api = "inference", method: str = "OPTIONS", **options: Any) -> tuple[int, Any]:
    async with running_front(**options) as h, aiohttp.ClientSession() as client:
        async with client.request(method, h.url(path, api)) as response:
            assert response.content_type == "application/json"
            return response.status, await response.json()


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(("method", "path"), [("OPTIONS", "/"), ("GET", "/api-description")])
async def test_a_listener_describes_what_it_answers(api: Api, method: str, path: str) -> None:
    status, found = await fetch(path, api, method)
    assert status == 200
    validate(found)
    assert found == document("TorchServe APIs", __version__, rows(api))


@pytest.mark.parametrize(
    "path",
    [
        "/predictions/m", "/predictions/m/1.0", "/predictions/m/1.0/x/y", "/explanations/m", "/v1/models/m:predict",
        "/v2/models/m/infer", "/invocations", "/invocations?model_name=m", "/models/m/invoke", "/m/predict",
    ],
)  # fmt: skip
async def test_options_of_a_prediction_describe_the_model(path: str) -> None:
    status, found = await fetch(path)
    assert status == 200
    validate(found)
    assert found["info"] == {
        "title": "RESTful API for: m",
        "description": "A model server for PyTorch.",
        "version": "1.0",
    }
    assert {"/predictions/m", "/v1/models/m:predict", "/v2/models/m/infer"} <= set(found["paths"])
    assert "model_name}" not in json.dumps(found)


@pytest.mark.parametrize("path", ["/models/m", "/models/m/1.0"])
async def test_options_of_a_managed_model(path: str) -> None:
    status, found = await fetch(path, "management")
    assert status == 200
    validate(found)
    assert found["info"]["title"] == "RESTful Management API for: m"
    assert set(found["paths"]) == {
        "/models/{model_name}",
        "/models/{model_name}/cache",
        "/models/{model_name}/{model_version}/cache",
        "/models/{model_name}/profile",
        "/models/{model_name}/stacks",
        "/models/{model_name}/{model_version}/profile",
        "/models/{model_name}/{model_version}/stacks",
        "/models/{model_name}/traffic",
        "/models/{model_name}/{model_version}",
        "/models/{model_name}/{model_version}/set-default",
    }


@pytest.mark.parametrize(
    ("api", "path", "status"),
    [
        ("inference", "/predictions/nobody", 404),
        ("inference", "/predictions/m/9", 404),
        ("inference", "/v1/models/m", 405),
        ("management", "/v1/models/m", 405),
        ("management", "/models/nobody", 404),
        ("management", "/models/m/all", 404),
        ("management", "/models", 405),
        ("management", "/predictions/m", 404),
    ],
)
async def test_options_of_what_is_not_there(api: Api, path: str, status: int) -> None:
    found, body = await fetch(path, api)
    assert (found, body["code"]) == (status, status)


def test_a_models_name_is_quoted_in_its_paths() -> None:
    made = document("t", "v", [row for row in rows("inference") if row.path == "/predictions/{model}"], "a b/{c}")
    assert list(made["paths"]) == ["/predictions/a%20b%2F%7Bc%7D"]
