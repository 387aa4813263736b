"""open_workflow(): opens a .war or a plain folder as a WorkflowArchive, in the same safe way as models' archives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..errors import InvalidArchive, InvalidWorkflow
from .limits import Limits
from .model_yaml import parse_mapping
from .reader import delete, open_any
from .unpack import safe_parts
from .workflow_writer import WORKFLOW_MANIFEST_PATH


@dataclass(frozen=True, slots=True)
class WorkflowArchive:
    """An opened archive of a workflow: `spec` is its YAML, `handler` the file of its functions, "" if it has none.

    `unpacked` is the directory that was made for it, None for a user's own folder.
    """

    name: str
    folder: Path
    spec: dict[str, object]
    handler: str
    unpacked: Path | None

    def remove(self) -> None:
        """Delete what was unpacked; a user's own folder stays. May be called again."""
        if self.unpacked is not None:
            delete(self.unpacked)


def open_workflow(
    path: Path, into: Path, *, limits: Limits | None = None, signers: Sequence[Path] = ()
) -> WorkflowArchive:
    """Open the archive or folder at `path` as `open_archive` does; blocks.

    Raises InvalidWorkflow, naming the file and the cause; nothing is left behind then.
    """
    try:
        return open_any(path, into, WORKFLOW_MANIFEST_PATH, limits or Limits(), _describe, signers)
    except InvalidArchive as error:
        raise InvalidWorkflow(error.message) from None


def _describe(_source: Path, folder: Path, unpacked: Path | None, limits: Limits) -> WorkflowArchive:
    workflow = _manifest(folder, limits)
    handler = _text(workflow, "handler")
    if handler and not _inside(folder, "handler", handler, limits).is_file():
        raise InvalidArchive(f"{WORKFLOW_MANIFEST_PATH} names the handler {handler!r}, which is not there")
    spec = _text(workflow, "specFile")
    if not spec:
        raise InvalidArchive(f"{WORKFLOW_MANIFEST_PATH} names no specFile")
    path = _inside(folder, "specFile", spec, limits)
    if not path.is_file():
        raise InvalidArchive(f"{WORKFLOW_MANIFEST_PATH} names the specFile {spec!r}, which is not there")
    try:
        found = parse_mapping(_read(path, limits.yaml_bytes), limits)
    except InvalidArchive as error:
        raise InvalidArchive(f"{spec}: {error.message}") from None
    return WorkflowArchive(_text(workflow, "workflowName"), folder.absolute(), found, handler, unpacked)


def _inside(folder: Path, key: str, name: str, limits: Limits) -> Path:
    """Return the path of a file that the manifest names by `key`. Raises InvalidArchive if it leads elsewhere."""
    try:
        return folder.joinpath(*safe_parts(name, limits.depth))
    except InvalidArchive as error:
        raise InvalidArchive(f"{WORKFLOW_MANIFEST_PATH} names the {key} {name!r}: {error.message}") from None


def _manifest(folder: Path, limits: Limits) -> dict[str, Any]:
    """Return the entry `workflow` of the manifest."""
    path = folder / WORKFLOW_MANIFEST_PATH
    if not path.is_file():
        raise InvalidArchive(f"it has no {WORKFLOW_MANIFEST_PATH}: pack workflows by torch-workflow-archiver")
    data = _read(path, limits.manifest_bytes)
    if len(data) > limits.manifest_bytes:
        raise InvalidArchive(f"{WORKFLOW_MANIFEST_PATH} is larger than {limits.manifest_bytes} bytes")
    try:
        document = cast("object", json.loads(data))
    except (ValueError, RecursionError) as error:
        raise InvalidArchive(f"{WORKFLOW_MANIFEST_PATH} is not JSON: {error}") from None
    workflow = cast("dict[str, Any]", document).get("workflow") if isinstance(document, dict) else None
    if not isinstance(workflow, dict):
        raise InvalidArchive(f"{WORKFLOW_MANIFEST_PATH} has no object `workflow`")
    return cast("dict[str, Any]", workflow)


def _read(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most + 1)


def _text(workflow: dict[str, Any], key: str) -> str:
    value = workflow.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or not value.isprintable():
        raise InvalidArchive(f"{WORKFLOW_MANIFEST_PATH}: workflow.{key} must be printable text, not {value!r:.80}")
    return value
