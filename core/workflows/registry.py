"""Workflows: registers workflows, whole or not at all, lists, describes and removes them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..archive.downloads import Downloads
from ..archive.store import Located
from ..archive.workflow_reader import WorkflowArchive, open_workflow
from ..config.settings import Settings
from ..controlplane import ControlPlane, Outcome
from ..dataplane import DataPlane
from ..errors import (
    ArchiveNotFound,
    BadRequest,
    InvalidWorkflow,
    NotFound,
    ServeError,
    WorkersFailed,
    WorkflowExists,
    WorkflowFailed,
    WorkflowNotFound,
)
from ..model_name import check_name
from ..registration import NodeOf, RegisterRequest
from .runner import WorkflowPlane
from .served import Served, model_of
from .spec import WorkflowSpec, read_spec

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Workflow:
    """A registered workflow."""

    name: str
    located: Located
    archive: WorkflowArchive
    spec: WorkflowSpec


class Workflows:
    """The workflows of a server. `plane` takes predictions to them."""

    def __init__(self, settings: Settings, dataplane: DataPlane, controlplane: ControlPlane, work: Path) -> None:
        self._controlplane = controlplane
        self._work = work
        self._signers = settings.required_signers
        self._downloads = Downloads(settings.workflow_store or settings.model_store, settings.allowed_urls)
        self._workflows: dict[str, _Workflow] = {}
        self._claims: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._served: dict[str, Served] = {}
        self._grace = settings.unregister_model_timeout
        self.plane = WorkflowPlane(dataplane, self._served, settings.max_response_size)

    async def register(self, url: str, name: str | None) -> Outcome:
        """Register a workflow, and return once all its nodes serve.

        Raises WorkflowNotFound, InvalidWorkflow, InvalidGraph, WorkflowExists, WorkflowFailed, and what downloading
        raises; nothing is left behind then.
        """
        if name:
            check_name(name)  # before anything is copied
        return await self._whole(self._register(url, name))

    async def _register(self, url: str, name: str | None) -> Outcome:
        located = await self._locate(url)
        archive: WorkflowArchive | None = None
        try:
            archive = await asyncio.to_thread(open_workflow, located.path, self._work, signers=self._signers)
            workflow = _read(name, located, archive)
            await self._add(workflow)
        except BaseException:
            if archive is not None:
                await asyncio.to_thread(archive.remove)
            if located.downloaded:
                await self._downloads.release(located.path)
            raise
        return Outcome(f"Workflow {workflow.name} has been registered and scaled successfully.")

    async def _locate(self, url: str) -> Located:
        try:
            return await self._downloads.locate(url)
        except ArchiveNotFound as error:
            text = error.message
            if text == "empty url":
                text = "Workflow not found at: "
            elif text.startswith("Model not found at: "):
                text = f"Workflow not found in workflow store: {url}"
            elif text.startswith("Model store has not"):
                text = "Neither workflow_store nor model_store has been configured."
            raise WorkflowNotFound(text) from None

    async def _add(self, workflow: _Workflow) -> None:
        """Register all nodes side by side; if one fails, remove the others again."""
        name, spec = workflow.name, workflow.spec
        if name in self._claims or name in self._workflows:
            raise WorkflowExists(name)
        if spec.unused:
            log.warning("Workflow %s: dag has no node for the models %s", name, ", ".join(spec.unused[:10]))
        self._claims.add(name)
        try:
            nodes = spec.graph.nodes
            outcomes = await asyncio.gather(
                *(self._controlplane.register(_request(workflow, node)) for node in nodes), return_exceptions=True
            )
            failed = {node: each for node, each in zip(nodes, outcomes, strict=True) if isinstance(each, BaseException)}
            if failed:
                await self._remove_nodes(name, [node for node in nodes if node not in failed])
                raise WorkflowFailed(
                    f"Workflow {name} has failed to register. Failures:"
                    f" [{', '.join(_failure(name, node, error) for node, error in failed.items())}]"
                )
            self._workflows[name] = workflow
            self._served[name] = Served(name, spec)
        finally:
            self._claims.discard(name)

    async def unregister(self, name: str) -> Outcome:
        """Remove a workflow with its nodes, once they have answered what they have accepted.

        Raises WorkflowNotFound.
        """
        workflow = self._get(name)
        await self._whole(self._remove(workflow))
        return Outcome(f'Workflow "{name}" unregistered')

    async def _remove(self, workflow: _Workflow) -> None:
        name = workflow.name
        del self._workflows[name]
        served = self._served.pop(name)
        self._claims.add(name)
        try:
            await served.drain(self._grace)  # their next nodes must still be there
            await self._remove_nodes(name, workflow.spec.graph.nodes)
            await asyncio.to_thread(workflow.archive.remove)
            if workflow.located.downloaded:
                await self._downloads.release(workflow.located.path)
        finally:
            self._claims.discard(name)

    async def _remove_nodes(self, name: str, nodes: Any) -> None:
        removals = (self._controlplane.unregister(model_of(name, node), None) for node in nodes)
        for error in await asyncio.gather(*removals, return_exceptions=True):
            if isinstance(error, BaseException) and not isinstance(error, NotFound):
                log.error("A node of workflow %s could not be removed: %s", name, error)

    def rows(self) -> list[dict[str, Any]]:
        """Return the graph and the totals of each workflow that serves, for the dashboard."""
        return [served.row() for served in self._served.values()]

    def describe(self, name: str) -> list[dict[str, Any]]:
        """Return TorchServe's description of a workflow. Raises WorkflowNotFound."""
        workflow = self._get(name)
        common = workflow.spec.common
        return [
            {
                "workflowName": name,
                "workflowUrl": workflow.located.url,
                "minWorkers": common.min_workers,
                "maxWorkers": common.max_workers,
                "batchSize": common.batch_size,
                "maxBatchDelay": common.max_batch_delay,
                "workflowDag": workflow.spec.dag,
            }
        ]

    def list(self, limit: int, offset: int) -> dict[str, Any]:
        """Return a page of the workflows, by name; it has nextPageToken if more follow."""
        names = sorted(self._workflows)
        end = offset + limit
        page: dict[str, Any] = {"nextPageToken": str(end)} if end < len(names) else {}
        page["workflows"] = [
            {"workflowName": name, "workflowUrl": self._workflows[name].located.url} for name in names[offset:end]
        ]
        return page

    def _get(self, name: str) -> _Workflow:
        workflow = self._workflows.get(name)
        if workflow is None:
            raise WorkflowNotFound(f"Workflow not found: {name}")
        return workflow

    async def _whole(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Complete `work` even if this call is cancelled because its client has gone."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)


def _read(name: str | None, located: Located, archive: WorkflowArchive) -> _Workflow:
    found = name or archive.name
    if not found:
        raise InvalidWorkflow(f"{located.path.name}: Workflow name is not defined. Give workflow_name.")
    try:
        spec = read_spec(archive.spec, functions=bool(archive.handler))
        for node in (found, *(model_of(found, node) for node in spec.graph.nodes)):
            check_name(node)
    except BadRequest as error:
        raise InvalidWorkflow(error.message) from None
    return _Workflow(found, located, archive, spec)


def _request(workflow: _Workflow, node: str) -> RegisterRequest:
    spec, archive = workflow.spec.nodes[node], workflow.archive
    return RegisterRequest(
        url=spec.url or str(archive.folder),
        model_name=model_of(workflow.name, node),
        handler=None if spec.url else f"{archive.handler}:{node}",
        batch_size=spec.batch_size,
        max_batch_delay=spec.max_batch_delay,
        node=NodeOf(
            workflow.name,
            spec.min_workers,
            spec.max_workers,
            function=not spec.url,
            inner=bool(workflow.spec.graph.after[node]),
        ),
    )


def _failure(workflow: str, node: str, error: BaseException) -> str:
    if isinstance(error, WorkersFailed):
        return error.message  # it names the node's model itself
    text = error.message if isinstance(error, ServeError) else f"{type(error).__name__}: {error}"
    return f"Workflow Node {model_of(workflow, node)} failed to register. Details: {text}"
