"""The functions and classes of the Python package `workflow_archiver`, for scripts."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from ..core.archive.workflow_writer import WorkflowRecipe, check_workflow_name, pack_workflow
from ..core.archive.writer import PackError, check_overwrite
from .export_utils import ModelExportUtils
from .manifest_objects import ManifestWorkflow, WorkflowManifest
from .option_grammar import argument_parser
from .workflow_archiver import main

WorkflowArchiverError = PackError


def generate_workflow_archive() -> None:
    """Make the archive that the command line describes."""
    main(standalone_mode=False)


def package_workflow(args: Any, manifest: object = None) -> None:  # noqa: ARG001
    """Make the archive that `args` describes, any object with the flags as attributes; the later ones may be missing.

    `manifest` is ignored: the manifest is made from `args`. Raises WorkflowArchiverError, OSError.
    """
    pack_workflow(
        WorkflowRecipe(
            args.workflow_name,
            str(args.spec_file),
            getattr(args, "handler", None),
            (getattr(args, "extra_files", None) or "").split(","),
        ),
        Path(getattr(args, "export_path", None) or "."),
        force=getattr(args, "force", False),
    )


class WorkflowArchiverArgParser:
    """The parser of torch-workflow-archiver, as scripts take it from workflow_archiver.arg_parser."""

    @staticmethod
    def workflow_archiver_args_parser() -> argparse.ArgumentParser:
        """Return a parser with the flags of torch-workflow-archiver."""
        return argument_parser(main)


class WorkflowExportUtils:
    """The steps of torch-workflow-archiver that scripts call by themselves. Names and arguments are TorchServe's."""

    @staticmethod
    def get_archive_export_path(export_file_path: str, workflow_name: str) -> str:
        """Return the path of the archive that would be made."""
        return str(Path(export_file_path) / f"{workflow_name}.war")

    @staticmethod
    def check_war_already_exists(workflow_name: str, export_file_path: str | None, overwrite: bool) -> str:
        """Return the export folder, the current one if None. Raises WorkflowArchiverError for an archive in the way."""
        folder = export_file_path or str(Path.cwd())
        check_overwrite(Path(WorkflowExportUtils.get_archive_export_path(folder, workflow_name)), force=overwrite)
        return folder

    @staticmethod
    def generate_workflow(workflow_args: Any) -> ManifestWorkflow:
        """Return the manifest's entry for the workflow."""
        return ManifestWorkflow(
            workflow_args.workflow_name, str(workflow_args.spec_file), getattr(workflow_args, "handler", None)
        )

    @staticmethod
    def generate_manifest_json(args: Any) -> str:
        """Return the text of WAR-INF/MANIFEST.json."""
        return str(WorkflowManifest(WorkflowExportUtils.generate_workflow(args)))

    @staticmethod
    def clean_temp_files(temp_files: Iterable[str]) -> None:
        """Remove these files."""
        ModelExportUtils.clean_temp_files(temp_files)

    @staticmethod
    def make_dir(d: str) -> None:
        """Make a folder, and those above it, if it is missing."""
        ModelExportUtils.make_dir(d)

    @staticmethod
    def directory_filter(directory: str, unwanted_dirs: Collection[str]) -> bool:
        """Return whether a folder of this name goes into an archive."""
        return directory not in unwanted_dirs and not directory.startswith(".")

    @staticmethod
    def file_filter(current_file: str, files_to_exclude: Collection[str]) -> bool:
        """Return whether a file of this name goes into an archive."""
        left_out = {"MANIFEST.json", *files_to_exclude}
        return current_file not in left_out and not current_file.endswith((".pyc", ".DS_Store", ".war"))

    @staticmethod
    def check_workflow_name_regex_or_exit(workflow_name: str) -> None:
        """Raise WorkflowArchiverError for a name that an archive can't have."""
        check_workflow_name(workflow_name)

    @staticmethod
    def validate_inputs(workflow_name: str, export_path: str) -> None:
        """Raise WorkflowArchiverError for a bad name, or an export path that is no folder."""
        check_workflow_name(workflow_name)
        if not Path(export_path).is_dir():
            raise WorkflowArchiverError(f"Given export-path {export_path} is not a directory.")
