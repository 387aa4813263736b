"""The OpenAPI documents. They are made of the routes that a listener answers, so that none is missing in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ...core.payload import Reply
from ...core.version import __version__
from ..app_context import AppContext
from ..message.reply import PHRASES, json_reply
from ..message.request import Request
from ..routing.operation import Operation, Parameter
from ..routing.route import ANY, PredictRoute, Route
from .grpc_services import grpc_services
from .inference_body import inference_body

_PATH = {  # a route's parameter -> its name in the documents, and what it is
    "model": ("model_name", "Name of the model."),
    "version": ("model_version", "Version of the model."),
    "workflow": ("workflow_name", "Name of the workflow."),
    "rest": ("url_path", "What follows, slashes included."),
    "file": ("file", "Name of a file."),
    "region": ("region_name", "Name of the shared memory region."),
}
_TEXT = {"type": "string"}
_ERROR = {
    "type": "object",
    "required": ["code", "type", "message"],
    "properties": {
        "code": {"type": "integer", "description": "The HTTP status."},
        "type": {"type": "string", "description": "The kind of error."},
        "message": {"type": "string", "description": "What happened, why, and what to do."},
    },
}
_OPENAI_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "object"}}}
_OPEN_INFERENCE_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "What happened, why, and what to do."}},
}
_BODY = {"description": "Whatever the model takes.", "content": {"*/*": {"schema": _TEXT | {"format": "binary"}}}}


def server(routes: Sequence[Route], context: AppContext, _request: Request) -> Reply:
    """Answer OPTIONS / and GET /api-description: describe all routes of this listener, and what it serves by gRPC."""
    made = document("TorchServe APIs", __version__, routes, keyed=context.token_auth is not None)
    if context.grpc:
        made["x-grpc"] = grpc_services({route.api for route in routes})
    return json_reply(made)


def predictions(routes: Sequence[Route], context: AppContext, request: Request) -> Reply:
    """Answer OPTIONS of a prediction's path: describe how to predict with this model."""
    params = request.params
    model = params.get("model") or _last(request.query, "model_name") or context.only_model()
    version = context.controlplane.version_of(model, params.get("version"))
    rows = [route for route in routes if isinstance(route.answer, PredictRoute) and "{model}" in route.path]
    inputs: list[Mapping[str, Any]] = context.controlplane.repository.metadata(model, version)["inputs"]
    keyed = context.token_auth is not None
    return json_reply(document(f"RESTful API for: {model}", version, rows, model, inputs, keyed=keyed))


def workflow(routes: Sequence[Route], _context: AppContext, _request: Request) -> Reply:
    """Answer OPTIONS of a workflow's path: describe how to predict with workflows."""
    rows = [route for route in routes if isinstance(route.answer, PredictRoute) and "{workflow}" in route.path]
    return json_reply(document("RESTful API for workflows", __version__, rows))


def model(routes: Sequence[Route], context: AppContext, request: Request) -> Reply:
    """Answer OPTIONS /models/{model}[/{version}]: describe how to manage a model."""
    name = request.params["model"]
    context.controlplane.version_of(name, request.params.get("version"))
    rows = [route for route in routes if route.api == "management" and route.path.startswith("/models/{model}")]
    return json_reply(
        document(f"RESTful Management API for: {name}", __version__, rows, keyed=context.token_auth is not None)
    )


def document(
    title: str,
    version: str,
    routes: Iterable[Route],
    model: str | None = None,
    inputs: Sequence[Mapping[str, Any]] = (),
    *,
    keyed: bool = False,
) -> dict[str, Any]:
    """Return the document of these routes.

    With `model` the paths have its name in place of their parameter, and requests of the Open Inference Protocol its
    `inputs`, as its metadata tells them. If `keyed`, the document says which operations need a key.
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = route.path.replace("{model}", quote(model, safe="")) if model is not None else route.path
        method = (route.operation.method if route.method == ANY else route.method).lower()
        shown = re.sub(r"\{(\w+)(?:\.\.\.)?\}", lambda found: f"{{{_PATH[found[1]][0]}}}", path)
        made = _operation(path, route.operation)
        if inputs and path.endswith("/infer"):
            made["requestBody"] = inference_body(inputs)
        if keyed and route.scope != "open":
            made["security"] = [{"key": []}]
        paths.setdefault(shown, {}).setdefault(method, made)
    components: dict[str, Any] = {
        "schemas": {"Error": _ERROR, "OpenInferenceError": _OPEN_INFERENCE_ERROR, "OpenAiError": _OPENAI_ERROR}
    }
    if keyed:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.0.1",
        "info": {"title": title, "description": "A model server for PyTorch.", "version": version},
        "paths": paths,
        "components": components,
    }


def _operation(path: str, operation: Operation) -> dict[str, Any]:
    named = [_PATH[name] for name in re.findall(r"\{(\w+)", path)]
    parameters = [
        {"in": "path", "name": name, "description": text, "required": True, "schema": _TEXT} for name, text in named
    ]
    shown: dict[str, Any] = {
        "description": operation.summary,
        "operationId": operation.id,
        "parameters": parameters + [_parameter(each) for each in operation.query],
    }
    if operation.body is not None:
        shown["requestBody"] = {"content": {"application/json": {"schema": operation.body}}}
    elif operation.takes_body:
        shown["requestBody"] = _BODY
    shown["responses"] = _responses(operation)
    if operation.deprecated:
        shown["deprecated"] = True
    return shown


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "in": "query",
        "name": parameter.name,
        "description": parameter.summary,
        "required": parameter.required,
        "schema": parameter.schema,
    }


def _responses(operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, schema in operation.answers.items():
        content = {operation.media: {"schema": _TEXT | {"format": "binary"} if schema is None else schema}}
        responses[str(status)] = {"description": PHRASES[status], "content": content}
    error = {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{operation.error}"}}}}
    for status in sorted({*operation.errors, 500}):
        responses.setdefault(str(status), {"description": PHRASES[status]} | error)
    if operation.takes_body:
        content = {operation.media: {"schema": _TEXT | {"format": "binary"}}}
        responses["default"] = {"description": "Whatever else the model's handler chose.", "content": content}
    return responses


def _last(query: Mapping[str, Any], name: str) -> str:
    return query.get(name, ("",))[-1]
