"""The command `torch-workflow-archiver`, which packs a workflow's files into NAME.war.

Its flags, the layout of its archives and its exit codes are those of torch-workflow-archiver 0.2.15.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..core.archive.signatures import SigningFailed
from ..core.archive.signatures import sign as sign_archive
from ..core.archive.workflow_writer import WorkflowRecipe, pack_workflow
from ..core.archive.writer import PackError
from .archiver import notes_on_stderr
from .option_grammar import ArgparseCommand


@click.command("torch-workflow-archiver", cls=ArgparseCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--workflow-name", required=True, help="Name of the workflow, and of the archive: NAME.war.")
@click.option("--spec-file", required=True, help="YAML file with the workflow's models and its graph (models, dag).")
@click.option("--handler", help="Python file with the functions of the graph's nodes that are no models.")
@click.option("--export-path", default=".", help="Folder for the archive. Default: the current one.")
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing archive of that name.")
@click.option(
    "--sign",
    metavar="KEY",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Sign the archive with the private key in this PEM file: NAME.war.sig is written beside it.",
)
@click.option("--extra-files", default="", help="Further files, separated by commas.")
def main(
    workflow_name: str,
    spec_file: str,
    handler: str | None,
    export_path: str,
    *,
    force: bool,
    sign: Path | None,
    extra_files: str,
) -> None:
    """Pack a workflow's graph, its functions and its other files into one archive for the workflow store."""
    recipe = WorkflowRecipe(workflow_name, spec_file, handler, extra_files.split(","))
    try:
        with notes_on_stderr(pack_workflow.__module__):
            made = pack_workflow(recipe, Path(export_path), force=force)
        if sign is not None:
            sign_archive(made, sign)
    except (PackError, SigningFailed, OSError) as error:
        click.echo(f"ERROR - {error}", err=True)
        sys.exit(1)
