"""pack_workflow(): writes a workflow archive with the layout of torch-workflow-archiver, entries in a fixed order."""

from __future__ import annotations

import json
import logging
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..version import __version__
from .atomic_write import atomic_write
from .writer import MissingFile, PackError

log = logging.getLogger(__name__)

WORKFLOW_MANIFEST_PATH = "WAR-INF/MANIFEST.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-.]*")


@dataclass(frozen=True, slots=True)
class WorkflowRecipe:
    """The contents of a workflow archive. Paths are relative to the working folder; `extra_files` are plain files."""

    workflow_name: str
    spec_file: str
    handler: str | None = None
    extra_files: Sequence[str] = ()


def pack_workflow(recipe: WorkflowRecipe, export_path: Path, *, force: bool = False) -> Path:
    """Write NAME.war into the folder `export_path` and return its path.

    Raises PackError for a bad name, a missing file or folder, or an existing output without `force`; OSError.
    """
    check_workflow_name(recipe.workflow_name)
    if not export_path.is_dir():
        raise PackError(f"Given export-path {export_path} is not a directory.")
    target = export_path / f"{recipe.workflow_name}.war"
    if target.exists():
        if not force:
            raise PackError(f"{target} already exists; use --force or -f to overwrite it")
        log.warning("Overwriting %s", target)
    files = dict(_files(recipe))
    with (
        atomic_write(target, force=force) as temporary,
        zipfile.ZipFile(temporary, "x", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, source in files.items():
            archive.write(source, name)
        archive.writestr(WORKFLOW_MANIFEST_PATH, _manifest(recipe))
    return target


def check_workflow_name(name: str) -> None:
    """Raise PackError for a name that torch-workflow-archiver refuses."""
    if not _NAME.fullmatch(name):
        raise PackError(f"Workflow name {name!r} does not match {_NAME.pattern}")


def _files(recipe: WorkflowRecipe) -> Iterator[tuple[str, Path]]:
    for name in (recipe.spec_file, recipe.handler, *recipe.extra_files):
        path = Path((name or "").strip())
        if not name or not name.strip():
            continue
        if not path.is_file():
            if path.is_dir():
                raise PackError(f"{path} is a folder, not a file")
            raise MissingFile(f"There is no file {path}")
        yield path.name, path


def _manifest(recipe: WorkflowRecipe) -> str:
    workflow = {"workflowName": recipe.workflow_name, "specFile": Path(recipe.spec_file).name}
    if recipe.handler:
        workflow["handler"] = Path(recipe.handler).name
    document = {
        "createdOn": datetime.now().astimezone().strftime("%d/%m/%Y %H:%M:%S"),
        "workflow": workflow,
        "archiverVersion": __version__,
    }
    return json.dumps(document, indent=2)
