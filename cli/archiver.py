"""The command `torch-model-archiver`, which packs a model's files into an archive.

Its flags, the layout of its archives and its exit codes are those of torch-model-archiver 0.12.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import click

from ..core.archive.signatures import SigningFailed
from ..core.archive.signatures import sign as sign_archive
from ..core.archive.writer import ArchiveFormat, PackError, Recipe, Runtime, pack
from .option_grammar import ArgparseCommand

_FORMATS = ("default", "zip-store", "tgz", "no-archive")
_RUNTIMES = ("python", "python3", "LSP")


class _OnStderr(logging.Handler):
    """A logging handler that prints records to standard error in torch-model-archiver's format."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"{record.levelname} - {record.getMessage()}", err=True)


@contextmanager
def notes_on_stderr(module: str) -> Iterator[None]:
    """Print what the logger named `module` logs to standard error while the context is open."""
    logger, handler = logging.getLogger(module), _OnStderr()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@click.command("torch-model-archiver", cls=ArgparseCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model-name", required=True, help="Name of the model, and of the archive: NAME.mar.")
@click.option(
    "--serialized-file", help="Weights: a state_dict (.pt, .pth), a TorchScript or TensorRT program, or an .onnx file."
)
@click.option("--model-file", help="Python file with exactly one model class; needed for a state_dict (eager mode).")
@click.option(
    "--handler",
    required=True,
    help="Name of a default handler, or a Python file, or FILE:FUNCTION in such a file, or PACKAGE.MODULE[:FUNCTION].",
)
@click.option(
    "--extra-files",
    default="",
    help="Further files, separated by commas: files, wildcards, folders (their contents go to the archive's root).",
)
@click.option("--runtime", type=click.Choice(_RUNTIMES), default="python", show_default=True, help="What runs it.")
@click.option("--export-path", default=".", help="Folder for the archive; made if missing. Default: the current one.")
@click.option(
    "--archive-format",
    type=click.Choice(_FORMATS),
    default="default",
    show_default=True,
    help="default: NAME.mar; zip-store: NAME.mar, not compressed; tgz: NAME.tar.gz; no-archive: a folder NAME.",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing archive of that name.")
@click.option(
    "--sign",
    metavar="KEY",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Sign the archive with the private key in this PEM file: NAME.mar.sig is written beside it.",
)
@click.option("-v", "--version", required=True, help="The model's version.")
@click.option("-r", "--requirements-file", help="requirements.txt with the Python packages that the model needs.")
@click.option("-c", "--config-file", help="model-config.yaml with the model's settings, such as batchSize.")
def main(
    model_name: str,
    serialized_file: str | None,
    model_file: str | None,
    handler: str,
    extra_files: str,
    runtime: str,
    export_path: str,
    archive_format: str,
    *,
    force: bool,
    sign: Path | None,
    version: str,
    requirements_file: str | None,
    config_file: str | None,
) -> None:
    """Pack a trained model, its handler and its other files into one archive for the model store."""
    recipe = Recipe(
        model_name=model_name,
        version=version,
        handler=handler,
        serialized_file=serialized_file,
        model_file=model_file,
        extra_files=extra_files.split(","),
        requirements_file=requirements_file,
        config_file=config_file,
        runtime=cast("Runtime", runtime),
    )
    try:
        with notes_on_stderr(pack.__module__):
            made = pack(recipe, Path(export_path), archive_format=cast("ArchiveFormat", archive_format), force=force)
        if sign is not None:
            sign_archive(made, sign)
    except (PackError, SigningFailed, OSError) as error:
        click.echo(f"ERROR - {error}", err=True)
        sys.exit(1)
