"""The server against its own OpenAPI documents: schemathesis sends what they allow and checks what comes back."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from .conftest import Serve
from .live import LiveServer, make_model

TYPED = """
def handle(data, context):
    if data is None:
        return None
    for index in range(len(data)):
        context.set_response_content_type(index, "application/octet-stream")
    return ["here"] * len(data)
"""
EXAMPLES = 8  # per operation
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture
def echo(serve: Serve, store) -> LiveServer:
    make_model(store, "echo", TYPED)
    server = serve("echo")
    server.ready("echo")
    return server


def test_the_server_keeps_to_its_documents(echo: LiveServer) -> None:
    asked: set[str] = set()
    for api in ("Inference", "Management", "Metrics"):
        base = f"http://127.0.0.1:{echo.ports[api]}"
        document = echo.call(api, "GET", "/api-description").json
        schema = schemathesis.openapi.from_dict(document)
        for result in schema.get_all_operations():
            operation = result.ok()
            if "text/event-stream" in str(operation.definition.raw["responses"]):  # it ends when its client leaves
                continue
            exercise(operation, base)
            asked.add(operation.definition.raw["operationId"])
    assert {"predictions", "registerModel", "metrics", "kserve_v1_ready", "apiDescription"} <= asked
    assert len(asked) > 30
    assert echo.predict("echo", b"").body == b"here"


def exercise(operation: Any, base: str) -> None:
    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE))
    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def ask(case: Any) -> None:
        if operation.path.endswith("/profile"):  # it takes as long as it is told to, or else ten seconds
            case.query = {**(case.query or {}), "seconds": 1}
        response = case.call(base_url=base)
        case.validate_response(response, checks=CHECKS)
        keeps = operation.method.upper() in {"GET", "POST", "OPTIONS"} and not operation.path.endswith("/unload")
        if "model_name" in (case.path_parameters or {}) and keeps:
            case.path_parameters["model_name"] = "echo"
            case.call_and_validate(base_url=base, checks=CHECKS)

    ask()
