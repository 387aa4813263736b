"""The workflow archives of TorchServe's Postman collections, which are on S3: packed anew of the specs and functions that the
checkout has, and handed out by a local server.

Their models are stood in for by ones that insist on the input that those of the zoo get: a tensor, a picture in Base64, the
answers of two nodes.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .stubs import archive

_ZOOS = ("https://torchserve.s3.amazonaws.com/war_files", "https://torchserve-mar-files.s3.amazonaws.com/workflows")
_PACKED = "frontend/archive/src/test/resources/workflows"  # the archives that the checkout has
_BREEDS = "examples/Workflows/dog_breed_classification/workflow_dog_breed_classification"

# Gives the classes that its row expects the probabilities that it expects.
_DENSENET = """
import io, json, math, pathlib, torch

class Densenet:
    def initialize(self, context):
        folder = pathlib.Path(context.system_properties["model_dir"])
        chances = json.loads((folder / "told.json").read_text())["predict"]
        labels = json.loads((folder / "told.json").read_text())["explain"]
        self.found = torch.full((1, 1000), -30.0)
        for number, (_, label) in labels.items():
            if label in chances:
                self.found[0, int(number)] = math.log(chances[label])

    def handle(self, data, context):
        for row in data:
            assert torch.load(io.BytesIO(row["body"])).shape == (3, 224, 224)
        return [self.found for _ in data]
"""
_SEES_A_DOG = """
import base64

def handle(data, context):
    return data and ["dog" for row in data if base64.b64decode(row["body"]).startswith(b"\\xff\\xd8")]
"""
_KNOWS_BREEDS = """
import base64, json, pathlib

class Breeds:
    def initialize(self, context):
        self.told = json.loads(pathlib.Path(context.system_properties["model_dir"], "told.json").read_text())

    def handle(self, data, context):
        for row in data:
            assert row["cat_dog_classification"].decode() == "dog"
            assert base64.b64decode(row["pre_processing"].decode()).startswith(b"\\xff\\xd8")
        return [self.told["predict"] for _ in data]
"""


@dataclass(frozen=True)
class _Source:
    """Where the checkout has what a workflow is made of."""

    workflow: str
    spec: str
    handler: str
    extra: tuple[str, ...] = ()


_SOURCES = {
    "densenet_wf": _Source(
        "densenet",
        "frontend/server/src/test/resources/densenet_workflow.yaml",
        "frontend/server/src/test/resources/densenet_workflow_handler.py",
        ("examples/image_classifier/index_to_name.json",),
    ),
    "dog_breed_wf": _Source("dog_breed_wf", f"{_BREEDS}.yaml", f"{_BREEDS}_handler.py"),
}
# Archive -> the one in the checkout, and the name of the workflow if the rows want another.
_COPIED = {
    "timeout-retry-test": ("retry_timeout_test", "densenet"),
    "custom_python_dep": ("custom_python_dep", ""),
    "loading-memory-error": ("loading-memory-error", ""),
}
_MODELS = ("prediction-memory-error", "loading-memory-error")  # archives of the checkout that those name


def furnish(upstream: Path, web: Path, store: Path, url: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put workflows into `web`, which is served at `url`, and models into `web` and `store`. Return the rows with that
    address and with the pictures of the checkout.
    """
    for name, source in _SOURCES.items():
        if (upstream / source.spec).exists():
            _pack(upstream, web / f"{name}.war", source, url)
    for name, (packed, workflow) in _COPIED.items():
        if (path := upstream / _PACKED / f"{packed}.war").exists():
            _copy(path, web / f"{name}.war", workflow)
    for name in _MODELS:
        if (path := upstream / _PACKED / f"../models/{name}.mar").exists():
            (store / path.name).write_bytes(path.read_bytes())
    expected = {row["workflow_name"]: row["expected"] for row in rows if "expected" in row}
    labels = upstream / _SOURCES["densenet_wf"].extra[0]
    known = json.loads(labels.read_text()) if labels.exists() else {}
    archive(web, "densenet_wf", expected.get("densenet", {}), known, _DENSENET)
    archive(store, "cat_dog_classification", None, None, _SEES_A_DOG)
    archive(store, "dog_breed_classification", expected.get("dog_breed_wf"), None, _KNOWS_BREEDS)
    return [
        {key: _here(key, value, upstream, url) if isinstance(value, str) else value for key, value in row.items()}
        for row in rows
    ]


def _here(key: str, value: str, upstream: Path, url: str) -> str:
    if key == "file":
        return str((upstream / "test" / value).resolve())
    for zoo in _ZOOS:
        value = value.replace(zoo, url)
    return value


def _pack(upstream: Path, target: Path, source: _Source, url: str) -> None:
    spec, handler = upstream / source.spec, upstream / source.handler
    workflow = {"workflowName": source.workflow, "specFile": spec.name, "handler": handler.name}
    with zipfile.ZipFile(target, "w") as war:
        war.writestr("WAR-INF/MANIFEST.json", json.dumps({"workflow": workflow}))
        war.writestr(spec.name, _here("", spec.read_text(), upstream, url))
        war.write(handler, handler.name)
        for extra in source.extra:
            if (upstream / extra).exists():
                war.write(upstream / extra, Path(extra).name)


def _copy(packed: Path, target: Path, workflow: str) -> None:
    """Copy an archive, and have it bear another name if one is given."""
    with zipfile.ZipFile(packed) as found, zipfile.ZipFile(target, "w") as war:
        for entry in found.infolist():
            data = found.read(entry)
            if workflow and entry.filename == "WAR-INF/MANIFEST.json":
                manifest = json.loads(data)
                manifest["workflow"]["workflowName"] = workflow
                data = json.dumps(manifest).encode()
            war.writestr(entry, data)
