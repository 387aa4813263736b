"""What export scripts and notebooks do with TorchServe's Python modules, beside handlers."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from argparse import Namespace
from pathlib import Path

import pytest
from workflow_archiver.arg_parser import ArgParser as WorkflowParser
from workflow_archiver.manifest_components.manifest import Manifest as WorkflowManifest
from workflow_archiver.manifest_components.workflow import Workflow
from workflow_archiver.workflow_archiver_error import WorkflowArchiverError
from workflow_archiver.workflow_packaging import package_workflow
from workflow_archiver.workflow_packaging_utils import WorkflowExportUtils

from model_archiver.arg_parser import ArgParser as ArchiverParser
from model_archiver.manifest_components.manifest import Manifest
from model_archiver.manifest_components.model import Model
from model_archiver.model_packaging import package_model
from model_archiver.model_packaging_utils import ModelExportUtils
from ts.arg_parser import ArgParser
from ts.model_loader import ModelLoaderFactory
from ts.model_server import load_properties
from ts.service import Service
from ts.utils.timeit_decorator import timeit

HANDLER = """
class Handler:
    def initialize(self, context):
        self.name = context.model_name

    def handle(self, data, context):
        return [f"{self.name} {row['body']} {context.get_request_id(i)}" for i, row in enumerate(data)]
"""


@pytest.fixture
def handler(tmp_path: Path) -> Path:
    path = tmp_path / "handler_of_script.py"
    path.write_text(HANDLER)
    return path


def test_a_namespace_without_the_newer_attributes_is_packed(tmp_path: Path, handler: Path) -> None:
    """As mmdetection's and mmpretrain's export scripts do it."""
    args = Namespace(
        model_file=None, serialized_file=None, handler=f"{handler}", model_name="cats", version=2,
        export_path=str(tmp_path), force=True, requirements_file=None, extra_files=None, runtime="python",
        archive_format="default",
    )  # fmt: skip
    manifest = ModelExportUtils.generate_manifest_json(args)
    package_model(args, manifest)
    packed = json.loads(zipfile.ZipFile(tmp_path / "cats.mar").read("MAR-INF/MANIFEST.json"))
    assert packed["model"] == json.loads(manifest)["model"]
    assert packed["model"] == {"modelName": "cats", "handler": handler.name, "modelVersion": "2"}


def test_export_utils(tmp_path: Path) -> None:
    assert ModelExportUtils.get_archive_export_path("/a", "m", "tgz") == "/a/m.tar.gz"
    assert ModelExportUtils.check_mar_already_exists("m", str(tmp_path), overwrite=False) == str(tmp_path)
    (tmp_path / "m.mar").touch()
    with pytest.raises(Exception, match="already exists"):
        ModelExportUtils.check_mar_already_exists("m", str(tmp_path), overwrite=False)
    assert ModelExportUtils.find_unique(["a.pt", "b.py"], ".pt") == "a.pt"
    assert ModelExportUtils.find_unique(["b.py"], ".pt") is None
    with pytest.raises(Exception, match=r"There are 2 files with the suffix \.pt"):
        ModelExportUtils.find_unique(["a.pt", "b.pt"], ".pt")
    ModelExportUtils.validate_inputs("m-1.0", str(tmp_path))
    with pytest.raises(Exception, match="does not match"):
        ModelExportUtils.check_model_name_regex_or_exit("no spaces")
    with pytest.raises(Exception, match="is not a folder"):
        ModelExportUtils.validate_inputs("m", str(tmp_path / "m.mar"))


def test_the_archivers_parser() -> None:
    given = ArchiverParser.export_model_args_parser().parse_args(
        ["--model-name", "m", "--handler", "h.py", "--extra-file=a,b", "-v", "1.0", "-f"]
    )
    assert (given.model_name, given.extra_files, given.version, given.force) == ("m", "a,b", "1.0", True)
    assert (given.archive_format, given.runtime, given.config_file) == ("default", "python", None)


def test_the_servers_parser() -> None:
    given = ArgParser.extract_args(["--start", "--models", "a.mar", "b=c.mar", "--no-config", "--dt", "unknown"])
    assert (given.start, given.models, given.no_config_snapshots, given.token_auth) == (
        True, ["a.mar", "b=c.mar"], True, True,
    )  # fmt: skip


def test_a_handler_without_a_server(tmp_path: Path, handler: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path.cwd()
    monkeypatch.setattr("sys.path", ["unchanged"])
    service = ModelLoaderFactory.get_model_loader().load("cats", str(tmp_path), handler.name, gpu_id=None, batch_size=2)
    assert isinstance(service, Service)
    assert Path.cwd() == here
    assert (service.context.model_name, service.context.system_properties["batch_size"]) == ("cats", 2)
    request = {"requestId": b"r1", "headers": [], "parameters": [{"name": "body", "value": "hi"}]}
    assert service.predict([request]) == ["cats hi r1"]
    with pytest.raises(ValueError, match="empty"):
        service.predict([])
    with pytest.raises(ValueError, match="No handler"):
        ModelLoaderFactory.get_model_loader().load("cats", str(tmp_path))


def test_properties(tmp_path: Path) -> None:
    path = tmp_path / "config.properties"
    path.write_text("model_store=store\njob_queue_size : 10\n")
    assert load_properties(str(path)) == {"model_store": "store", "job_queue_size": "10"}


def test_timeit(capsys: pytest.CaptureFixture[str]) -> None:
    assert timeit(len)([1]) == 1
    assert capsys.readouterr().out.startswith("func: 'len' took ")


@pytest.mark.parametrize(
    ("module", "argument", "said"),
    [
        ("ts.model_server", "--version", "TorchServe Version is"),
        ("model_archiver.model_packaging", "--help", "--model-name"),
    ],
)
def test_modules_that_run_as_commands(tmp_path: Path, module: str, argument: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", module, argument], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert said in done.stdout


def test_a_manifest_made_by_hand() -> None:
    """As a script makes it that packs by itself."""
    model = Model("cats", "out/cats.pt", "src/handler.py", model_file="src/net.py", model_version="1.0")
    entry = {"modelName": "cats", "serializedFile": "cats.pt", "handler": "handler.py", "modelFile": "net.py"}
    assert json.loads(str(model)) == model.model_dict == entry | {"modelVersion": "1.0"}
    manifest = Manifest("python", model)
    assert json.loads(repr(manifest)) == manifest.manifest_dict
    assert (manifest.manifest_dict["runtime"], manifest.manifest_dict["model"]) == ("python", model.model_dict)
    assert manifest.manifest_dict["createdOn"] == manifest.creation_time
    assert manifest.manifest_dict["archiverVersion"] == manifest.archiver_version
    with pytest.raises(ValueError, match="is not a valid RuntimeType"):
        Manifest("java", model)
    workflow = WorkflowManifest(Workflow("dogs", "w/dogs.yaml", "w/nodes.py")).manifest_dict["workflow"]
    assert workflow == {"workflowName": "dogs", "specFile": "dogs.yaml", "handler": "nodes.py"}


def test_the_manifests_that_archives_get(tmp_path: Path, handler: Path) -> None:
    args = Namespace(model_name="cats", version="1.0", handler=f"{handler}", serialized_file=None)
    made = json.loads(ModelExportUtils.generate_manifest_json(args))["model"]
    assert made == ModelExportUtils.generate_model(args).model_dict


def test_a_workflow_is_packed(tmp_path: Path, handler: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flow.yaml").write_text("models: {}")
    monkeypatch.chdir(tmp_path)
    words = ["--workflow-name", "flow", "--spec-file", "flow.yaml", "--handler", handler.name, "-f"]
    args = WorkflowParser.workflow_archiver_args_parser().parse_args(words)
    manifest = WorkflowExportUtils.generate_manifest_json(args)
    package_workflow(args, manifest)
    with zipfile.ZipFile(tmp_path / "flow.war") as archive:
        packed = json.loads(archive.read("WAR-INF/MANIFEST.json"))
        assert sorted(archive.namelist()) == ["WAR-INF/MANIFEST.json", "flow.yaml", handler.name]
    assert packed["workflow"] == json.loads(manifest)["workflow"]
    assert WorkflowExportUtils.check_war_already_exists("flow", None, overwrite=True) == str(tmp_path)
    with pytest.raises(WorkflowArchiverError, match="already exists"):
        WorkflowExportUtils.check_war_already_exists("flow", None, overwrite=False)
    with pytest.raises(WorkflowArchiverError, match="does not match"):
        WorkflowExportUtils.validate_inputs("no spaces", str(tmp_path))
    with pytest.raises(WorkflowArchiverError, match="is not a directory"):
        WorkflowExportUtils.validate_inputs("flow", "nowhere")
    args.handler = "gone.py"
    with pytest.raises(FileNotFoundError, match=r"There is no file gone\.py"):
        package_workflow(args, manifest)
