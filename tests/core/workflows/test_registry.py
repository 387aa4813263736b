"""Registering workflows: whole or not at all, whatever fails; and what is refused before anything is copied."""

from __future__ import annotations

import asyncio
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from torchserve.core.config.settings import Settings
from torchserve.core.controlplane import ControlPlane, Outcome
from torchserve.core.dataplane import DataPlane
from torchserve.core.errors import (
    AlreadyRegistered,
    BadRequest,
    InvalidGraph,
    InvalidWorkflow,
    ModelNotFound,
    ServeError,
    WorkflowExists,
    WorkflowFailed,
    WorkflowNotFound,
)
from torchserve.core.models.registry import Registry
from torchserve.core.registration import NodeOf, RegisterRequest
from torchserve.core.workflows.registry import Workflows

SPEC = "models: {m1: {url: m1.mar, max-workers: 2}, m2: {url: m2.mar}}\ndag: {pre: [m1, m2]}\n"


@dataclass
class FakeControlPlane:
    """Registers everything but what `fails`, once `go` is set."""

    fails: dict[str, ServeError] = field(default_factory=dict[str, ServeError])
    requests: dict[str, RegisterRequest] = field(default_factory=dict[str, RegisterRequest])
    go: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.go.set()

    async def register(self, request: RegisterRequest) -> Outcome:
        name = str(request.model_name)
        if name in self.fails:
            raise self.fails[name]
        await self.go.wait()
        self.requests[name] = request
        return Outcome("fine")

    async def unregister(self, name: str, version: str | None) -> Outcome:
        if name not in self.requests:
            raise ModelNotFound(name)
        del self.requests[name]
        return Outcome("fine")


def war(store: Path, name: str = "wf", spec: str = SPEC, handler: str | None = "h.py", **manifest: Any) -> Path:
    workflow = {"workflowName": name, "specFile": "s.yaml", "handler": handler} | manifest
    path = store / f"{name}.war"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("WAR-INF/MANIFEST.json", json.dumps({"workflow": workflow}))
        archive.writestr("s.yaml", spec)
        if handler:
            archive.writestr(handler, "def pre(data, context):\n    return data\n")
    return path


class House:
    """Workflows before a fake control plane, with a store and a folder to unpack to."""

    def __init__(self, folder: Path) -> None:
        self.store, self.models, self.work = folder / "wars", folder / "models", folder / "work"
        for each in (self.store, self.models):
            each.mkdir()
        self.control = FakeControlPlane()
        settings = Settings(workflow_store=self.store, model_store=self.models, allowed_urls=(r"file://.*",))
        data = DataPlane(Registry(), 1000)
        self.workflows = Workflows(settings, data, cast(ControlPlane, self.control), self.work)

    def nothing_left(self) -> None:
        assert self.control.requests == {}
        assert [*self.work.glob("*")] == []
        assert self.workflows.list(100, 0) == {"workflows": []}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def test_nodes_become_models_under_names_of_their_own(house: House) -> None:
    war(house.store)
    assert await house.workflows.register("wf.war", None) == Outcome(
        "Workflow wf has been registered and scaled successfully."
    )
    found = house.control.requests
    assert set(found) == {"wf__pre", "wf__m1", "wf__m2"}
    assert (found["wf__m1"].url, found["wf__m1"].handler) == ("m1.mar", None)
    assert (found["wf__m1"].batch_size, found["wf__m1"].max_batch_delay) == (1, 50)
    assert found["wf__m1"].node == NodeOf("wf", 1, 2)
    (unpacked,) = house.work.glob("*")
    assert (found["wf__pre"].url, found["wf__pre"].handler) == (str(unpacked), "h.py:pre")
    assert found["wf__pre"].node == NodeOf("wf", 1, 1, function=True, inner=True)
    assert house.workflows.describe("wf")[0] == {
        "workflowName": "wf", "workflowUrl": "wf.war", "minWorkers": 1, "maxWorkers": 1, "batchSize": 1,
        "maxBatchDelay": 50, "workflowDag": "{pre=[m1, m2]}",
    }  # fmt: skip
    assert await house.workflows.unregister("wf") == Outcome('Workflow "wf" unregistered')
    house.nothing_left()
    for call in (lambda: house.workflows.describe("wf"), lambda: house.workflows.plane.expect("wf", None)):
        with pytest.raises(WorkflowNotFound, match=r"^Workflow not found: wf$"):
            call()
    with pytest.raises(WorkflowNotFound):
        await house.workflows.unregister("wf")


async def test_pages(house: House) -> None:
    war(house.store)
    for name in ("c", "a", "b"):
        await house.workflows.register("wf.war", name)
    first = house.workflows.list(2, 0)
    assert [each["workflowName"] for each in first["workflows"]] == ["a", "b"]
    assert first["nextPageToken"] == "2"
    assert house.workflows.list(2, 2) == {"workflows": [{"workflowName": "c", "workflowUrl": "wf.war"}]}


async def test_a_node_that_fails_takes_back_the_others_and_nothing_else(house: House) -> None:
    war(house.store)
    house.control.requests["wf__m2"] = mine = RegisterRequest(url="mine.mar")
    house.control.fails["wf__m2"] = AlreadyRegistered("wf__m2", "1.0")
    with pytest.raises(WorkflowFailed) as caught:
        await house.workflows.register("wf.war", None)
    assert caught.value.message == (
        "Workflow wf has failed to register. Failures: [Workflow Node wf__m2 failed to register."
        " Details: Model version 1.0 is already registered for model wf__m2]"
    )
    assert house.control.requests == {"wf__m2": mine}
    house.control.requests.clear()
    house.nothing_left()
    house.control.fails.clear()
    await house.workflows.register("wf.war", None)


async def test_a_name_is_taken_while_its_workflow_comes_or_goes(house: House) -> None:
    war(house.store)
    house.control.go.clear()
    first = asyncio.create_task(house.workflows.register("wf.war", None))
    while not house.workflows._claims:
        await asyncio.sleep(0.001)
    with pytest.raises(WorkflowExists, match=r"^Workflow wf is already registered.$"):
        await house.workflows.register("wf.war", None)
    house.control.go.set()
    await first
    with pytest.raises(WorkflowExists):
        await house.workflows.register("wf.war", None)
    assert len([*house.work.glob("*")]) == 1


async def test_a_client_that_leaves_does_not_stop_a_registration_in_the_middle(house: House) -> None:
    war(house.store)
    house.control.go.clear()
    task = asyncio.create_task(house.workflows.register("wf.war", None))
    while not house.workflows._claims:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    house.control.go.set()
    while not house.workflows.list(1, 0)["workflows"]:
        await asyncio.sleep(0.001)
    await house.workflows.unregister("wf")
    house.nothing_left()


async def test_nodes_are_removed_once_no_request_is_on_its_way(house: House) -> None:
    war(house.store)
    await house.workflows.register("wf.war", None)
    served = house.workflows._served["wf"]
    served.running = 1
    removal = asyncio.create_task(house.workflows.unregister("wf"))
    while house.workflows.list(1, 0)["workflows"]:
        await asyncio.sleep(0.001)
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(house.control.requests) == 3
    served.ended()
    await removal
    house.nothing_left()


async def test_a_download_is_removed_with_its_workflow_or_its_failure(house: House, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    url = war(tmp_path / "elsewhere").as_uri()
    await house.workflows.register(url, None)
    assert (house.store / "wf.war").is_file()
    await house.workflows.unregister("wf")
    house.control.fails["wf__pre"] = BadRequest("no")
    with pytest.raises(WorkflowFailed):
        await house.workflows.register(url, None)
    assert [*house.store.iterdir()] == []
    house.nothing_left()


@pytest.mark.parametrize("url", ["file://{0}/ok/../secret.txt", "../secret.txt", "file://{0}/ok/%2e%2e/secret.txt"])
async def test_a_relative_path_is_refused_before_anything_is_copied(house: House, tmp_path: Path, url: str) -> None:
    (tmp_path / "ok").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    with pytest.raises(WorkflowNotFound, match=r"^Relative path is not allowed in url: "):
        await house.workflows.register(url.format(tmp_path), None)
    assert [*house.store.iterdir()] == []


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "^Workflow not found at: $"),
        ("nowhere.war", "^Workflow not found in workflow store: nowhere.war$"),
        ("ftp://h/x.war", "^Workflow not found in workflow store: ftp://h/x.war$"),
    ],
)
async def test_what_is_not_there(house: House, url: str, says: str) -> None:
    with pytest.raises(WorkflowNotFound, match=says):
        await house.workflows.register(url, None)


# Each line is ten times the one before: ten million names for 200 bytes.
BOMB = (
    "".join(f"l{at}: &l{at} [{', '.join([f'*l{at - 1}' if at else 'x'] * 10)}]\n" for at in range(7))
    + "dag: {a: *l6}\n"
)


@pytest.mark.parametrize(
    ("options", "name", "kind", "says"),
    [
        ({"spec": ": :"}, None, InvalidWorkflow, "^wf.war: s.yaml: not usable YAML"),
        ({"spec": "dag: {a: [b], b: [a]}"}, None, InvalidGraph, "^Not a valid DAG"),
        (
            {"spec": f"dag: {{pre: [{', '.join(f'n{at}' for at in range(1000))}]}}"},
            None,
            InvalidGraph,
            "has 1001 nodes",
        ),
        ({"spec": BOMB}, None, InvalidWorkflow, "^wf.war: s.yaml: "),
        ({"workflowName": ""}, None, InvalidWorkflow, "Workflow name is not defined. Give workflow_name."),
        ({"workflowName": "a/b"}, None, InvalidWorkflow, "Invalid model name 'a/b'"),
        ({}, "../x", BadRequest, "Invalid model name '../x'"),
        ({}, "x" * 253, InvalidWorkflow, "Invalid model name 'x"),
        (
            {"specFile": "../s.yaml"},
            None,
            InvalidWorkflow,
            "names the specFile '../s.yaml': entry name .* leads outside",
        ),
        ({"specFile": "t.yaml"}, None, InvalidWorkflow, "names the specFile 't.yaml', which is not there$"),
        ({"specFile": 3}, None, InvalidWorkflow, "workflow.specFile must be printable text, not 3$"),
        ({"specFile": None}, None, InvalidWorkflow, "names no specFile$"),
        ({"handler": None}, None, InvalidWorkflow, "Node pre of dag is not in models, and the archive has no handler"),
    ],
)
async def test_an_archive_that_can_not_be_used(
    house: House, options: dict[str, Any], name: str | None, kind: type[ServeError], says: str
) -> None:
    war(house.store, **options)
    with pytest.raises(kind, match=says):
        await house.workflows.register("wf.war", name)
    house.nothing_left()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"junk", "^wf.war: it is no zip archive, or is cut short"),
        ("[]", "has no object `workflow`$"),
        ('{"workflow": 3}', "has no object `workflow`$"),
        ("{", "is not JSON: "),
        (None, "^wf.war: it has no WAR-INF/MANIFEST.json: pack workflows by torch-workflow-archiver$"),
        (" " * (1 << 20) + "{}", "is larger than 1048576 bytes$"),
    ],
)
async def test_an_archive_without_a_manifest(house: House, content: bytes | str | None, says: str) -> None:
    path = house.store / "wf.war"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("other" if content is None else "WAR-INF/MANIFEST.json", content or "")
    with pytest.raises(InvalidWorkflow, match=says):
        await house.workflows.register("wf.war", None)
    house.nothing_left()


async def test_a_model_archive_is_no_workflow_and_a_missing_handler_is_told(house: House) -> None:
    path = war(house.store, handler=None)
    with zipfile.ZipFile(path, "w") as archive:
        manifest = {"workflow": {"workflowName": "wf", "specFile": "s.yaml", "handler": "gone.py"}}
        archive.writestr("WAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.writestr("s.yaml", SPEC)
    with pytest.raises(InvalidWorkflow, match=r"names the handler 'gone.py', which is not there$"):
        await house.workflows.register("wf.war", None)
