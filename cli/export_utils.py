"""What export scripts take from `model_archiver.model_packaging_utils`, and the argparse parsers of both commands."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

from ..core.archive.writer import SUFFIXES, ArchiveFormat, check_model_name, check_overwrite, describe_recipe
from .archiver import main as archiver
from .main import main as torchserve
from .manifest_objects import ManifestModel, ModelManifest
from .option_grammar import argument_parser
from .packaging import ModelArchiverConfig, ModelArchiverError, recipe_of


class ModelExportUtils:
    """The steps of torch-model-archiver that export scripts call by themselves. Names and arguments are TorchServe's.

    `config` is a ModelArchiverConfig, or any object with some of its attributes: what is missing has its default.
    """

    @staticmethod
    def generate_manifest_json(config: ModelArchiverConfig | argparse.Namespace) -> str:
        """Return the text of MAR-INF/MANIFEST.json."""
        return str(ModelManifest(recipe_of(config).runtime, ModelExportUtils.generate_model(config)))

    @staticmethod
    def generate_model(modelcfg: ModelArchiverConfig | argparse.Namespace) -> ManifestModel:
        """Return the manifest's entry for the model. Raises ModelArchiverError."""
        made = describe_recipe(recipe_of(modelcfg))
        return ManifestModel(
            model_name=made.model_name or "",
            serialized_file=made.serialized_file,
            handler=made.handler or "",
            model_file=made.model_file,
            model_version=made.model_version,
            requirements_file=made.requirements_file,
            config_file=made.config_file,
        )

    @staticmethod
    def get_archive_export_path(export_file_path: str, model_name: str, archive_format: str) -> str:
        """Return the path of the archive that would be made."""
        return os.path.join(export_file_path, model_name + SUFFIXES[cast("ArchiveFormat", archive_format)])  # noqa: PTH118

    @staticmethod
    def check_mar_already_exists(
        model_name: str, export_file_path: str | None, overwrite: bool, archive_format: str = "default"
    ) -> str:
        """Return the export folder, the current one if None. Raises ModelArchiverError for an archive in the way."""
        folder = export_file_path or str(Path.cwd())
        target = ModelExportUtils.get_archive_export_path(folder, model_name, archive_format)
        if not overwrite:
            check_overwrite(Path(target), force=False)
        return folder

    @staticmethod
    def find_unique(files: Iterable[str], suffix: str) -> str | None:
        """Return the only file with this suffix, or None. Raises ModelArchiverError where there are several."""
        found = [file for file in files if file.endswith(suffix)]
        if len(found) > 1:
            raise ModelArchiverError(f"There are {len(found)} files with the suffix {suffix}, and may be one: {found}")
        return found[0] if found else None

    @staticmethod
    def clean_temp_files(temp_files: Iterable[str]) -> None:
        """Remove these files."""
        for file in temp_files:
            Path(file).unlink()

    @staticmethod
    def make_dir(d: str) -> None:
        """Make a folder, and those above it, if it is missing."""
        Path(d).mkdir(parents=True, exist_ok=True)

    @staticmethod
    def directory_filter(directory: str, unwanted_dirs: Sequence[str]) -> bool:
        """Return whether a folder of this name goes into an archive."""
        return directory not in unwanted_dirs and not directory.startswith(".")

    @staticmethod
    def file_filter(current_file: str, files_to_exclude: Sequence[str]) -> bool:
        """Return whether a file of this name goes into an archive."""
        return current_file not in files_to_exclude and not current_file.endswith((".pyc", ".DS_Store"))

    @staticmethod
    def check_model_name_regex_or_exit(model_name: str) -> None:
        """Raise ModelArchiverError for a name that an archive can't have."""
        check_model_name(model_name)

    @staticmethod
    def validate_inputs(model_name: str, export_path: str) -> None:
        """Raise ModelArchiverError for a bad name, or an export path that is no folder."""
        ModelExportUtils.check_model_name_regex_or_exit(model_name)
        if not Path(export_path).is_dir():
            raise ModelArchiverError(f"The export path {export_path} is not a folder")


class ArchiverArgParser:
    """The parser of torch-model-archiver, as scripts take it from model_archiver.arg_parser."""

    @staticmethod
    def export_model_args_parser() -> argparse.ArgumentParser:
        """Return a parser with the flags of torch-model-archiver."""
        return argument_parser(archiver)


class ServerArgParser:
    """The parser of torchserve, as scripts take it from ts.arg_parser."""

    @staticmethod
    def ts_parser() -> argparse.ArgumentParser:
        """Return a parser with TorchServe's flags."""
        renamed = {"ncs": "no_config_snapshots", "disable_token_auth": "token_auth", "enable_model_api": "model_mode"}
        renamed |= {"show_version": "version", "starting": "start", "stopping": "stop"}
        return argument_parser(torchserve, renamed=renamed, several=("models",))

    @staticmethod
    def extract_args(args: Sequence[str] | None = None) -> argparse.Namespace:
        """Return what `args`, or else the command line, say; unknown words are left out."""
        return ServerArgParser.ts_parser().parse_known_args(args)[0]
