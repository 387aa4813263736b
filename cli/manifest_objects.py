"""The manifests of both archivers as the objects that export scripts build, with TorchServe's names and arguments."""

from __future__ import annotations

import abc
import json
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from ..core.version import __version__
from .packaging import RuntimeType


class _Part(abc.ABC):
    """A part of a manifest that is its JSON as text."""

    indent: int | None = None

    @abc.abstractmethod
    def __to_dict__(self) -> dict[str, Any]: ...

    def __str__(self) -> str:
        return json.dumps(self.__to_dict__(), indent=self.indent)

    __repr__ = __str__


class ManifestModel(_Part):
    """The entry `model` of an archive's manifest. Files are named without their folders."""

    def __init__(
        self,
        model_name: str,
        serialized_file: str | None,
        handler: str,
        model_file: str | None = None,
        model_version: str | None = None,
        extensions: Any = None,
        requirements_file: str | None = None,
        config_file: str | None = None,
    ) -> None:
        self.model_name = model_name
        self.serialized_file = _base(serialized_file)
        self.handler = _base(handler)
        self.model_file = model_file
        self.model_version = model_version
        self.extensions = extensions
        self.requirements_file = requirements_file
        self.config_file = _base(config_file)
        self.model_dict = self.__to_dict__()

    def __to_dict__(self) -> dict[str, Any]:
        found = {
            "modelName": self.model_name,
            "serializedFile": self.serialized_file,
            "handler": self.handler,
            "modelFile": _base(self.model_file),
            "modelVersion": self.model_version,
            "extensions": self.extensions,
            "requirementsFile": _base(self.requirements_file),
            "configFile": self.config_file,
        }
        return {key: value for key, value in found.items() if value or key in {"modelName", "handler"}}


class ModelManifest(_Part):
    """The manifest of a model's archive."""

    indent = 2

    def __init__(self, runtime: str, model: ManifestModel) -> None:
        """Raises ValueError for a runtime that is none of RuntimeType's."""
        self.creation_time = _now()
        self.runtime = RuntimeType(runtime)
        self.model = model
        self.archiver_version = __version__
        self.manifest_dict = self.__to_dict__()

    def __to_dict__(self) -> dict[str, Any]:
        return {
            "createdOn": self.creation_time,
            "runtime": self.runtime.value,
            "model": self.model.__to_dict__(),
            "archiverVersion": self.archiver_version,
        }


class ManifestWorkflow(_Part):
    """The entry `workflow` of a workflow archive's manifest. Files are named without their folders."""

    def __init__(self, workflow_name: str, spec_file: str, handler: str | None = None) -> None:
        self.workflow_name = workflow_name
        self.spec_file = _base(spec_file)
        self.handler = _base(handler)
        self.workflow_dict = self.__to_dict__()

    def __to_dict__(self) -> dict[str, Any]:
        found = {"workflowName": self.workflow_name, "specFile": self.spec_file, "handler": self.handler}
        return {key: value for key, value in found.items() if value}


class WorkflowManifest(_Part):
    """The manifest of a workflow archive."""

    indent = 2

    def __init__(self, workflow: ManifestWorkflow) -> None:
        self.creation_time = _now()
        self.workflow = workflow
        self.archiver_version = __version__
        self.manifest_dict = self.__to_dict__()

    def __to_dict__(self) -> dict[str, Any]:
        return {
            "createdOn": self.creation_time,
            "workflow": self.workflow.__to_dict__(),
            "archiverVersion": self.archiver_version,
        }


def _base(path: str | None) -> str | None:
    return PurePosixPath(path).name if path else None


def _now() -> str:
    return datetime.now().astimezone().strftime("%d/%m/%Y %H:%M:%S")
