"""Manifest: what MAR-INF/MANIFEST.json says about a model. Shared by the front and the backend; standard library only.

Unknown keys are kept and written back; old spellings are understood; a missing file is a manifest of defaults.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from ..errors import InvalidArchive

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST_PATH = "MAR-INF/MANIFEST.json"
RUNTIMES = ("python", "python3", "LSP")
DEFAULT_VERSION = "1.0"
MAX_BYTES = 1 << 20

# (field, key), in the order in which the archiver writes the keys
_MODEL_KEYS = (
    ("model_name", "modelName"),
    ("serialized_file", "serializedFile"),
    ("handler", "handler"),
    ("model_file", "modelFile"),
    ("model_version", "modelVersion"),
    ("requirements_file", "requirementsFile"),
    ("config_file", "configFile"),
)
_OLD_ARCHIVER_KEYS = ("modelServerVersion", "implementationVersion", "specificationVersion")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of a model. A field is None if its key is absent; `extra` is the document as it was read."""

    model_name: str | None = None
    model_version: str = DEFAULT_VERSION
    handler: str | None = None
    serialized_file: str | None = None
    model_file: str | None = None
    requirements_file: str | None = None
    config_file: str | None = None
    runtime: str = "python"
    archiver_version: str | None = None
    created_on: str | None = None
    extra: Mapping[str, object] = field(default_factory=dict[str, object], compare=False, repr=False)

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """Return the manifest in the JSON text `data`. Raises InvalidArchive, naming the key."""
        try:
            document = cast("object", json.loads(data))
        except RecursionError:
            raise InvalidArchive(f"{MANIFEST_PATH} is nested too deeply") from None
        except ValueError as error:
            raise InvalidArchive(f"{MANIFEST_PATH} is not JSON: {error}") from None
        if not isinstance(document, dict):
            raise InvalidArchive(f"{MANIFEST_PATH} is not a JSON object")
        return cls.from_dict(cast("dict[str, object]", document))

    @classmethod
    def read(cls, model_dir: Path, max_bytes: int = MAX_BYTES) -> Manifest:
        """Return the manifest of an unpacked model, the default one if it has none. Raises InvalidArchive, OSError."""
        path = model_dir / MANIFEST_PATH
        if not path.is_file():
            return cls()
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise InvalidArchive(f"{MANIFEST_PATH} is larger than {max_bytes} bytes")
        return cls.parse(data)

    @classmethod
    def from_dict(cls, document: Mapping[str, object]) -> Manifest:
        """Return the manifest in a parsed document. Raises InvalidArchive, naming the key."""
        model = document.get("model")
        if model is None:
            model = {}
        if not isinstance(model, Mapping):
            raise InvalidArchive(f"{MANIFEST_PATH}: model is {_kind(model)}, not an object")
        model = cast("Mapping[str, object]", model)
        runtime = _text(document, "runtime") or "python"
        if runtime not in RUNTIMES:
            raise InvalidArchive(f"{MANIFEST_PATH}: runtime {runtime!r} is none of {', '.join(RUNTIMES)}")
        archiver = (_text(document, key) for key in ("archiverVersion", *_OLD_ARCHIVER_KEYS))
        return cls(
            model_name=_text(model, "modelName"),
            model_version=_text(model, "modelVersion") or DEFAULT_VERSION,
            handler=_text(model, "handler"),
            serialized_file=_text(model, "serializedFile"),
            model_file=_text(model, "modelFile"),
            requirements_file=_text(model, "requirementsFile"),
            config_file=_text(model, "configFile"),
            runtime=runtime,
            archiver_version=next((version for version in archiver if version), None),
            created_on=_text(document, "createdOn"),
            extra=document,
        )

    def to_dict(self) -> dict[str, object]:
        """Return the document that handlers see as context.manifest: the archiver's keys in its order, then unknown
        ones.
        """
        model: dict[str, object] = {}
        for name, key in _MODEL_KEYS:
            value = cast("str | None", getattr(self, name))
            if value is not None:
                model[key] = value
        known = {key for _, key in _MODEL_KEYS}
        old = self.extra.get("model")
        if isinstance(old, Mapping):
            model |= {k: v for k, v in cast("Mapping[str, object]", old).items() if k not in known}
        document: dict[str, object] = {}
        if self.created_on is not None:
            document["createdOn"] = self.created_on
        document["runtime"] = self.runtime
        document["model"] = model
        if self.archiver_version is not None:
            document["archiverVersion"] = self.archiver_version
        own = {"createdOn", "runtime", "model", "archiverVersion"}
        return document | {k: v for k, v in self.extra.items() if k not in own}

    def to_json(self) -> bytes:
        """Return the text of MAR-INF/MANIFEST.json."""
        return json.dumps(self.to_dict(), indent=2).encode()


def _text(mapping: Mapping[str, object], key: str) -> str | None:
    value = mapping.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidArchive(f"{MANIFEST_PATH}: {key} is {_kind(value)}, not text")
    text = str(value)
    if not text.isprintable():
        raise InvalidArchive(f"{MANIFEST_PATH}: {key} holds a control character: {text!r}")
    return text


def _kind(value: object) -> str:
    names = {"dict": "an object", "list": "a list", "str": "text", "bool": "true or false"}
    return names.get(type(value).__name__, "a number")
