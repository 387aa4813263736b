"""The functions and classes of the Python package `model_archiver`: torch-model-archiver without its command line."""

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
    """The interpreters that a model's manifest may name."""

    PYTHON = "python"
    PYTHON3 = "python3"
    LSP = "LSP"


@dataclass
class ModelArchiverConfig:
    """The flags of torch-model-archiver as fields.

    `extra_files` is a list separated by commas. An `export_path` of None is the current folder.
    """

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
        """Return the configuration of a parsed command line. Attributes that it lacks have their defaults."""
        return cls(**{each.name: getattr(args, each.name) for each in fields(cls) if hasattr(args, each.name)})


class ModelArchiver:
    """The class of TorchServe's archiver API, kept because scripts import it."""

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


def package_model(config: ModelArchiverConfig | Namespace, manifest: object = None) -> None:  # noqa: ARG001
    """Make the archive that `config` describes. `manifest` is ignored: the manifest is made from `config`.

    `config` may be any object with these attributes, because export scripts have Namespaces that lack the newer ones.
    Raises ModelArchiverError, OSError.
    """
    pack(
        recipe_of(config),
        Path(getattr(config, "export_path", None) or "."),
        archive_format=cast("ArchiveFormat", getattr(config, "archive_format", "default")),
        force=getattr(config, "force", False),
    )


def recipe_of(config: ModelArchiverConfig | Namespace) -> Recipe:
    """Return what goes into the archive; attributes that `config` lacks have their defaults."""

    def text(name: str) -> str | None:
        value = getattr(config, name, None)
        return None if value is None else str(value)

    return Recipe(
        model_name=config.model_name,
        version=str(config.version),
        handler=str(config.handler),
        serialized_file=text("serialized_file"),
        model_file=text("model_file"),
        extra_files=(text("extra_files") or "").split(","),
        requirements_file=text("requirements_file"),
        config_file=text("config_file"),
        runtime=cast("Runtime", text("runtime") or "python"),
    )
