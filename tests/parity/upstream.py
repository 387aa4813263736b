"""`python -m tests.parity.upstream --upstream CHECKOUT [FILE...]`: TorchServe's own pytest files against this server.

They run in a copy of the checkout, on TorchServe's fixed ports, with this project's `ts`, `torchserve` and archiver. What
would be fetched is stood in for: archives of the zoo by ones that answer with their name, weights by random ones of the
same shapes, or, for mnist, by ones that know the pictures of the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import upstream_web as web

FILES = (
    "test_auto_recover",
    "test_handler",
    "test_handler_traceback_logging",
    "test_metrics",
    "test_mnist_template",
    "test_model_archiver",
    "test_model_config",
    "test_model_control_mode",
    "test_pytorch_profiler",
    "test_send_intermediate_prediction_response",
    "test_sm_mme_requirements",
    "test_snapshot",
    "test_startup_timeout",
    "test_token_authorization",
    "test_url_path",
    "test_onnx",
    "test_torch_compile",
    "test_torch_export",
    "test_parallelism",
    "test_async_worker_comm",
    "test_example_micro_batching",
    "test_example_stateful_sequence_batching_http",
    "test_example_stateful_sequence_continuous_batching_http",
)
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


def prepare(upstream: Path, into: Path) -> None:
    """A copy of what the tests need, with the stand-ins in place."""
    for folder in _COPIED:
        if (upstream / folder).is_dir():
            shutil.copytree(upstream / folder, into / folder, symlinks=True)
    (into / "model-archiver/model_archiver/model_packaging.py").write_text(_PACKAGING)
    (into / "stub.py").write_text(_HANDLER)
    config = into / "ts_scripts/mar_config.json"
    names = [model["model_name"] for model in json.loads(config.read_text())]
    stubs = [{"model_name": name, "version": "1.0", "handler": str(into / "stub.py")} for name in names]
    mnist = into / "examples/image_classifier/mnist"
    real = {"model_file": str(mnist / "mnist.py"), "serialized_file_local": str(mnist / "mnist_cnn.pt")}
    for stub in stubs:
        if stub["model_name"] == "mnist":
            stub.update(real, handler=str(mnist / "mnist_handler.py"))
    config.write_text(json.dumps(stubs))
    weights = [sys.executable, "-c", _WEIGHTS, str(mnist / "mnist.py"), str(mnist / "mnist_cnn.pt")]
    subprocess.run(weights, check=True)
    shutil.copy(mnist / "mnist_cnn.pt", into / "examples/stateful/model_cnn.pt")  # the same net, which nobody asks
    web.furnish(into)
    # Tokens and the lock on models are on by default in TorchServe; here, on loopback, where the file says so.
    resources = into / "test/resources"
    for path in [*resources.glob("config_token*.properties"), resources / "config_https.properties"]:
        said = path.read_text()
        missing = [line for line in _LOCKED if line.partition("=")[0] not in said]
        path.write_text("\n".join([said, *missing, ""]))
    mode = into / "test/pytest/test_model_control_mode.py"
    locked = into / "locked.properties"
    locked.write_text("enable_model_api=false\n")
    mode.write_text(
        mode.read_text().replace(
            'models="mnist=mnist.mar", enable_model_api=False',
            f'models="mnist=mnist.mar", enable_model_api=False, snapshot_file={str(locked)!r}',
        )
    )


def run(home: Path, name: str, arguments: list[str]) -> tuple[str, str]:
    """One file; pytest's last line, and all that it said."""
    env = dict(os.environ)
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"]])
    env["TMPDIR"] = str(home / "tmp")
    (home / "tmp" / "workspace" / "model_store").mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-p",
        "no:cacheprovider",
        "-o",
        "asyncio_mode=auto",
        "--timeout=150",
    ]
    with web.served(home, name):
        done = subprocess.run(
            [*command, *arguments, f"{name}.py"],
            cwd=home / "test" / "pytest",
            env=env,
            text=True,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    lines = re.findall(r"^=+ (.*) in [0-9.]+s.*=+$", done.stdout, re.MULTILINE)
    return lines[-1] if lines else f"code {done.returncode}", done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", type=Path, required=True, help="a checkout of TorchServe's repository")
    parser.add_argument("--home", type=Path, help="where to work; default: a temporary folder")
    parser.add_argument("files", nargs="*", default=FILES, help="names of test files, without .py")
    parser.add_argument("--pytest", default="", help="further arguments for pytest")
    options = parser.parse_args()
    home = options.home or Path(tempfile.mkdtemp(prefix="upstream-"))
    if not (home / "test").exists():
        home.mkdir(parents=True, exist_ok=True)
        prepare(options.upstream.resolve(), home)
    for name in options.files:
        verdict, said = run(home, name, options.pytest.split())
        (home / f"{name}.txt").write_text(said)
        print(f"| {name} | {verdict} |", flush=True)
    print(f"what each said: {home}/<name>.txt")


if __name__ == "__main__":
    main()
