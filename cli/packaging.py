"""What the Python package `model_archiver` offers to scripts: torch-model-archiver without its command line."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import cast

from ..core.archive.writer import ArchiveFormat, PackError, Recipe, Runtime, pack
from .archiver import main

ModelArchiverError = PackError


class RuntimeType(Enum):
    """What runs a handler."""

    PYTHON = "python"
    PYTHON3 = "python3"
    LSP = "LSP"


@dataclass
class ModelArchiverConfig:
    """The flags of torch-model-archiver; `extra_files` is a list by comma, `export_path` the current folder if None."""

    model_name: str
    handler: str
    version: str
    serialized_file: str | None = None
    model_file: str | None = None
    extra_files: str | None = None
    runtime: str = RuntimeType.PYTHON.value
    export_path: str | None = None
    archive_format: str = "default"
    force: bool = False
    requirements_file: str | None = None
    config_file: str | None = None

    @classmethod
    def from_args(cls, args: Namespace) -> ModelArchiverConfig:
        return cls(**{each.name: getattr(args, each.name) for each in fields(cls)})


class ModelArchiver:
    """The name that scripts import."""

    @staticmethod
    def generate_model_archive(config: ModelArchiverConfig) -> None:
        """Make the archive. Raises ModelArchiverError, OSError."""
        generate_model_archive(config)


def generate_model_archive(config: ModelArchiverConfig | None = None) -> None:
    """Make the archive that `config` describes, or else the command line. Raises ModelArchiverError, OSError."""
    if config is None:
        main(standalone_mode=False)
        return
    package_model(config)


def package_model(config: ModelArchiverConfig, manifest: object = None) -> None:  # noqa: ARG001
    """As generate_model_archive; `manifest` is made anew from `config`, whatever is given."""
    recipe = Recipe(
        model_name=config.model_name,
        version=config.version,
        handler=config.handler,
        serialized_file=_text(config.serialized_file),
        model_file=_text(config.model_file),
        extra_files=(config.extra_files or "").split(","),
        requirements_file=_text(config.requirements_file),
        config_file=_text(config.config_file),
        runtime=cast("Runtime", config.runtime),
    )
    pack(
        recipe,
        Path(config.export_path or "."),
        archive_format=cast("ArchiveFormat", config.archive_format),
        force=config.force,
    )


def _text(path: object) -> str | None:
    return None if path is None else str(path)
