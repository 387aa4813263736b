"""Every import path of TorchServe and its archiver that public handlers use gives our object, and is in the wheel's package list."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]

PATHS = {
    "ts": {"__version__": "core.version"},
    "ts.context": {"Context": "core.handlers.context", "RequestProcessor": "core.handlers.context"},
    "ts.handler_utils.timer": {"timed": "core.handlers.timer"},
    "ts.handler_utils.utils": {
        "import_class": "core.handlers.classes",
        "send_intermediate_predict_response": "core.handlers.streaming",
    },
    "ts.launcher": {name: "cli.launcher" for name in ("register_model", "register_model_with_params", "start", "stop")},
    "ts.metrics.caching_metric": {"CachingMetric": "core.handlers.emitter"},
    "ts.metrics.dimension": {"Dimension": "core.handlers.emitter"},
    "ts.metrics.metric_cache_errors": {
        "MetricsCacheKeyError": "core.handlers.emitter",
        "MetricsCacheTypeError": "core.handlers.emitter",
        "MetricsCacheValueError": "core.handlers.emitter",
    },
    "ts.metrics.metric_type_enum": {"MetricTypes": "core.handlers.emitter"},
    "model_archiver": {
        "ModelArchiver": "cli.packaging",
        "ModelArchiverConfig": "cli.packaging",
        "__version__": "core.version",
    },
    "model_archiver.manifest_components.manifest": {"RuntimeType": "cli.packaging"},
    "model_archiver.model_archiver": {"ModelArchiver": "cli.packaging"},
    "model_archiver.model_archiver_config": {"ModelArchiverConfig": "cli.packaging"},
    "model_archiver.model_archiver_error": {"ModelArchiverError": "cli.packaging"},
    "model_archiver.model_packaging": {"generate_model_archive": "cli.packaging", "package_model": "cli.packaging"},
    "ts.protocol.otf_message_handler": {"send_intermediate_predict_response": "core.handlers.streaming"},
    "ts.torch_handler.base_handler": {"BaseHandler": "core.handlers.base"},
    "ts.torch_handler.image_classifier": {"ImageClassifier": "core.handlers.image_classifier"},
    "ts.torch_handler.unit_tests.test_utils.mock_context": {"MockContext": "core.handlers.mock_context"},
    "ts.torch_handler.vision_handler": {"VisionHandler": "core.handlers.vision"},
    "ts.utils.util": {
        "PredictionException": "core.handlers.prediction_exception",
        "get_yaml_config": "core.handlers.yaml_config",
        "list_classes_from_module": "core.handlers.classes",
        "load_label_mapping": "core.handlers.labels",
        "map_class_to_label": "core.handlers.labels",
    },
}


def files_below(*folders: str) -> list[Path]:
    return [path for folder in folders for path in (REPO / folder).rglob("*.py")]


@pytest.mark.parametrize("path", PATHS)
def test_path(path: str) -> None:
    module = importlib.import_module(path)
    for name, home in PATHS[path].items():
        assert getattr(module, name) is getattr(importlib.import_module(f"torchserve.{home}"), name)
    assert sorted(module.__all__) == sorted(PATHS[path])


def test_the_table_above_is_complete() -> None:
    files = {path.relative_to(REPO).with_suffix("") for path in files_below("ts", "model_archiver")}
    modules = {".".join(file.parts) for file in files if file.name != "__init__"}
    assert modules | {"ts", "model_archiver"} == set(PATHS)


def test_every_package_is_listed() -> None:
    listed = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    tree = {".".join(path.parent.relative_to(REPO).parts) for path in files_below("ts", "model_archiver")}
    assert tree == {name for name in listed if name.partition(".")[0] in {"ts", "model_archiver"}}
    assert all((REPO / name.replace(".", "/") / "__init__.py").exists() for name in tree)


@pytest.mark.parametrize(
    "module",
    ["ts.context", "ts.utils.util", "ts.handler_utils.utils", "ts.handler_utils.timer", "ts.metrics.dimension"],
)
def test_light_paths_load_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit(str(sorted({{'torch', 'PIL', 'torchvision'}} & set(sys.modules)) or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/")
    assert done.stderr.strip() == ""
