"""A copy of a checkout of TorchServe's repository in which its own pytest files find what they need.

What would be fetched is stood in for: archives of the zoo by ones that answer with their name, weights by random ones of the
same shapes or, for mnist, by ones that know the pictures of the repository.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from . import rpc_zoo, web

_COPIED = ("test", "ts_scripts", "examples", "kubernetes", "model-archiver", "benchmarks", "requirements", "frontend")

# Stands in for every model of the zoo.
_HANDLER = """
class Stub:
    def initialize(self, context):
        self.name = context.manifest["model"]["modelName"]

    def handle(self, data, context):
        return [self.name for _ in data]
"""
# conftest.py loads this file, by its path, for the fixture `model_archiver`: it is to be ours.
_PACKAGING = """
from model_archiver.model_packaging import generate_model_archive as _generate

class ArgParser:
    @staticmethod
    def export_model_args_parser():
        return None

class zipfile:
    ZipFile = None  # for the tests that replace it

def generate_model_archive(config=None):
    _generate(config or ArgParser.export_model_args_parser())
"""
_LOCKED = ("disable_token_authorization=false", "enable_model_api=false", "enable_envvars_config=true")
# The answers that are asked for are those of the ten pictures that come with the example: learnt by heart in seconds.
_WEIGHTS = """
import importlib.util, sys, torch
from pathlib import Path
from PIL import Image
from torchvision import transforms
torch.manual_seed(0)
spec = importlib.util.spec_from_file_location("mnist", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
net = module.Net()
seen = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
pictures = Path(sys.argv[1]).parent / "test_data"
batch = torch.stack([seen(Image.open(pictures / f"{digit}.png")) for digit in range(10)])
optimizer = torch.optim.Adam(net.parameters(), 1e-3)
for _ in range(60):
    optimizer.zero_grad()
    torch.nn.functional.nll_loss(net(batch), torch.arange(10)).backward()
    optimizer.step()
assert net.eval()(batch).argmax(1).tolist() == list(range(10))
torch.save(net.state_dict(), sys.argv[2])
"""
_STATUS = """
syntax = "proto3";
package google.rpc;
import "google/protobuf/any.proto";
message Status {
  int32 code = 1;
  string message = 2;
  repeated google.protobuf.Any details = 3;
}
"""


# The fixture of this file has a mark, which pytest 9 refuses and older ones ignore.
_MARKED_FIXTURE = re.compile(r"(@pytest\.fixture\n)@pytest\.mark\.skipif\([^@]*?\n\)\n(?=def )")


def prepare(upstream: Path, into: Path) -> None:
    """Copy what the tests need to `into`, and put the stand-ins in place of what is there."""
    for folder in _COPIED:
        if (upstream / folder).is_dir():
            shutil.copytree(upstream / folder, into / folder, symlinks=True)
    _copy_archivers_tests(upstream / "workflow-archiver", into)
    (into / "stub.py").write_text(_HANDLER)
    archiver = into / "model-archiver/model_archiver/model_packaging.py"
    if archiver.exists():
        archiver.write_text(_PACKAGING)
    mnist = into / "examples/image_classifier/mnist"
    if (mnist / "mnist.py").exists():
        weights = [sys.executable, "-c", _WEIGHTS, str(mnist / "mnist.py"), str(mnist / "mnist_cnn.pt")]
        subprocess.run(weights, check=True)
        shutil.copy(mnist / "mnist_cnn.pt", into / "examples/stateful/model_cnn.pt")  # the same net, which nobody asks
        _stub_the_zoo(into, mnist)
        web.furnish(into)
        models = into / "test/resources/models"
        if models.parent.is_dir() and not (models / "mnist.mar").exists():  # not every copy of the repository has it
            models.mkdir(exist_ok=True)
            shutil.copy(into / "web/mar_files/mnist.mar", models)
    _lock(into)
    _make_grpc_modules(into)
    rpc_zoo.furnish(into)
    for path in (into / "test/pytest").glob("test_*.py"):
        # What they replace within the archiver, to save time, is not how ours writes an archive.
        said = path.read_text().replace("model_archiver.model_packaging_utils.zipfile.", "archiver.zipfile.")
        path.write_text(_MARKED_FIXTURE.sub(r"\1", said))


def _copy_archivers_tests(archiver: Path, into: Path) -> None:
    """Copy the tests of torch-workflow-archiver, without it: they are to find ours."""
    if not archiver.is_dir():
        return
    package = into / "workflow-archiver/workflow_archiver"
    shutil.copytree(archiver / "workflow_archiver/tests", package / "tests")
    shutil.copy(archiver / "workflow_archiver/version.txt", package)
    settings = package / "tests/integ_tests/configuration.json"
    if settings.exists():
        settings.write_text(settings.read_text().replace("/tmp/workflow", str(into / "tmp/workflow")))


def _make_grpc_modules(into: Path) -> None:
    """Make the modules that the gRPC tests import, as TorchServe's scripts do, if grpcio-tools is installed."""
    protos, modules = into / "frontend/server/src/main/resources/proto", into / "test/pytest"
    if not protos.is_dir() or importlib.util.find_spec("grpc_tools") is None:
        return
    status = protos / "google/rpc/status.proto"  # TorchServe has it in a submodule, which is often not checked out
    status.parent.mkdir(parents=True, exist_ok=True)
    status.write_text(_STATUS)
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={protos}", f"--python_out={modules}"]
    command += [f"--grpc_python_out={modules}", "inference.proto", "management.proto", "google/rpc/status.proto"]
    subprocess.run(command, check=False)  # without them the rows say so


def _stub_the_zoo(into: Path, mnist: Path) -> None:
    config = into / "ts_scripts/mar_config.json"
    names = [model["model_name"] for model in json.loads(config.read_text())]
    stubs = [{"model_name": name, "version": "1.0", "handler": str(into / "stub.py")} for name in names]
    real = {"model_file": str(mnist / "mnist.py"), "serialized_file_local": str(mnist / "mnist_cnn.pt")}
    for stub in stubs:
        if stub["model_name"] == "mnist":
            stub.update(real, handler=str(mnist / "mnist_handler.py"))
    config.write_text(json.dumps(stubs))


def _lock(into: Path) -> None:
    """Say in the files what TorchServe has by default, and we, on loopback, have not: tokens, and the lock on models."""
    resources = into / "test/resources"
    for path in resources.glob("config_*.properties"):
        if path.stem.startswith("config_token") or path.stem == "config_https":
            said = path.read_text()
            missing = [line for line in _LOCKED if line.partition("=")[0] not in said]
            path.write_text("\n".join([said, *missing, ""]))
    mode = into / "test/pytest/test_model_control_mode.py"
    if mode.exists():
        locked = into / "locked.properties"
        locked.write_text("enable_model_api=false\n")
        mode.write_text(
            mode.read_text().replace(
                'models="mnist=mnist.mar", enable_model_api=False',
                f'models="mnist=mnist.mar", enable_model_api=False, snapshot_file={str(locked)!r}',
            )
        )
