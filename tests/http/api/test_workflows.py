"""The routes of workflows: what reaches Workflows and its plane, and what a server without any, or a locked one, says."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import aiohttp
import pytest

from torchserve.core.controlplane import Outcome
from torchserve.core.errors import (
    InvalidGraph,
    InvalidWorkflow,
    NodeFailed,
    WorkflowExists,
    WorkflowFailed,
    WorkflowNotFound,
)
from torchserve.core.payload import Payload, Reply
from torchserve.core.workflows.registry import Workflows

from ..doubles import FakeDataPlane, FakeTicket, RunningFront, running_front


class FakeWorkflows:
    """Writes down what it is called with. `result` is returned, or raised."""

    def __init__(self, result: Any = None) -> None:
        self.result = result
        self.calls: list[tuple[Any, ...]] = []
        self.payloads: list[Payload] = []
        self._held = FakeDataPlane()

    @property
    def plane(self) -> FakeWorkflows:
        return self

    def _answer(self, *call: Any) -> Any:
        self.calls.append(call)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    async def register(self, url: str, name: str | None) -> Outcome:
        return self._answer("register", url, name)

    async def unregister(self, name: str) -> Outcome:
        return self._answer("unregister", name)

    def describe(self, name: str) -> Any:
        return self._answer("describe", name)

    def list(self, limit: int, offset: int) -> Any:
        return self._answer("list", limit, offset)

    def expect(self, name: str, version: str | None) -> Any:
        del name, version
        return self._held.expect("", None)

    def room(self, name: str, version: str | None, size: int) -> None:
        del name, version, size

    def submit(self, name: str, version: str | None, payload: Payload, sink: Any) -> FakeTicket:
        del version
        self.payloads.append(payload)
        reply = self._answer("submit", name)
        asyncio.get_running_loop().call_soon(sink.done, reply)
        return FakeTicket(self._held)


async def ask(front: RunningFront, api: str, method: str, path: str, **options: Any) -> tuple[int, str, Any]:
    async with aiohttp.ClientSession() as client, client.request(method, front.url(path, api), **options) as response:
        return response.status, response.content_type, await response.json()


async def call(workflows: FakeWorkflows, method: str, path: str, **options: Any) -> tuple[int, str, Any]:
    api = "inference" if path.startswith("/wfpredict") else "management"
    front_options = options.pop("front_options", {})
    async with running_front(workflows=cast(Workflows, workflows), **front_options) as front:
        return await ask(front, api, method, path, **options)


@pytest.mark.parametrize(
    ("method", "path", "options", "result", "expected"),
    [
        ("POST", "/workflows?url=a.war", {}, Outcome("fine"), ("register", "a.war", None)),
        ("POST", "/workflows?url=a.war&workflow_name=b", {}, Outcome("fine"), ("register", "a.war", "b")),
        (
            "POST",
            "/workflows",
            {"json": {"url": "a.war", "workflow_name": "b"}},
            Outcome("fine"),
            ("register", "a.war", "b"),
        ),
        ("DELETE", "/workflows/a%20b", {}, Outcome("fine"), ("unregister", "a b")),
        ("GET", "/workflows/a", {}, [], ("describe", "a")),
        ("GET", "/workflows", {}, {}, ("list", 100, 0)),
        ("GET", "/workflows?limit=7&next_page_token=9", {}, {}, ("list", 7, 9)),
        ("GET", "/workflows?limit=-1", {}, {}, ("list", 100, 0)),
    ],
)
async def test_a_call_reaches_the_workflows(
    method: str, path: str, options: dict[str, Any], result: Any, expected: tuple[Any, ...]
) -> None:
    workflows = FakeWorkflows(result)
    assert (await call(workflows, method, path, **options))[0] == 200
    assert workflows.calls == [expected]


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (WorkflowNotFound("x"), 404, "WorkflowNotFoundException"),
        (InvalidGraph("x"), 400, "InvalidDAGException"),
        (InvalidWorkflow("x"), 400, "InvalidWorkflowException"),
        (WorkflowExists("x"), 409, "ConflictStatusException"),
        (WorkflowFailed("x"), 500, "WorkflowException"),
        (NodeFailed("x"), 500, "InternalServerException"),
    ],
)
async def test_an_error_has_torchserves_status_and_name(error: Exception, status: int, kind: str) -> None:
    for method, path in (("POST", "/workflows?url=a.war"), ("POST", "/wfpredict/a")):
        answer = await call(FakeWorkflows(error), method, path)
        assert (answer[0], answer[2]["type"]) == (status, kind)


@pytest.mark.parametrize(("method", "path"), [("POST", "/workflows?url=a.war"), ("DELETE", "/workflows/a")])
async def test_a_locked_server_neither_registers_nor_removes(method: str, path: str) -> None:
    workflows = FakeWorkflows(Outcome("fine"))
    status, _, told = await call(workflows, method, path, front_options={"model_api": False})
    assert (status, told["type"], workflows.calls) == (405, "MethodNotAllowedException", [])


@pytest.mark.parametrize("path", ["/wfpredict/wf", "/wfpredict/wf/1.0", "/wfpredict/wf/"])
async def test_a_prediction_reaches_its_workflow_and_is_json_unless_its_handler_says_otherwise(path: str) -> None:
    workflows = FakeWorkflows(Reply(b"1"))
    headers = {"Content-Type": "text/plain", "x-request-timeout-ms": "1500", "x-request-priority": "-2"}
    assert await call(workflows, "POST", path, data=b"in", headers=headers) == (200, "application/json", 1)
    (payload,) = workflows.payloads
    assert workflows.calls == [("submit", "wf")]
    assert [(part.name, bytes(part.body)) for part in payload.parts] == [("body", b"in")]
    assert (payload.timeout, payload.priority) == (1.5, -2)
    workflows.result = Reply(b"2", 418, content_type="application/problem+json")
    assert await call(workflows, "PUT", path, data=b"in") == (418, "application/problem+json", 2)


@pytest.mark.parametrize(("api", "path"), [("inference", "/wfpredict/wf"), ("management", "/workflows/wf")])
async def test_a_server_without_workflows_has_no_such_paths(api: str, path: str) -> None:
    async with running_front() as front:
        assert (await ask(front, api, "GET", path))[0] == 404


async def test_options_describe_how_to_ask() -> None:
    status, _, told = await call(FakeWorkflows(), "OPTIONS", "/wfpredict/wf")
    assert (status, list(told["paths"])) == (
        200,
        ["/wfpredict/{workflow_name}", "/wfpredict/{workflow_name}/{url_path}"],
    )
