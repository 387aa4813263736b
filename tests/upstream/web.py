"""What TorchServe's own tests fetch from the network, stood in for by small files that a local server hands out."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOSTS = ("https://torchserve.pytorch.org", "https://download.pytorch.org")
FETCHING = ("test_handler", "test_model_archiver", "test_pytorch_profiler")  # the files that ask for what stands here
# TorchServe's own default; ours lets nobody register from this host's own addresses.
_CONFIG = "allowed_urls=file://.*|http(s)?://.*\n"
# Random weights, behind which every picture is of a tiger cat, the class 282: that is what the tests ask about.
_RESNET = """
import sys, torch, torchvision
torch.manual_seed(0)
model = getattr(torchvision.models, sys.argv[1])(weights=None)
with torch.no_grad():
    model.fc.weight.zero_()
    model.fc.bias[282] = 100
torch.save(model.state_dict(), sys.argv[2])
"""


# What the model of the zoo says to the sample that it is asked about.
_REFUSES = """
class Refuses:
    def initialize(self, context):
        self.context = context

    def handle(self, data, context):
        return ["Not Accepted" for _ in data]
"""


def furnish(home: Path) -> None:
    """The files: the example mnist as an archive, stubs under the names of others, random weights for resnet-18."""
    archives, weights, mnist = home / "web/mar_files", home / "web/models", home / "examples/image_classifier/mnist"
    for folder in (archives, weights):
        folder.mkdir(parents=True, exist_ok=True)
    archiver = [str(Path(sys.executable).with_name("torch-model-archiver")), "--version", "1.0", "--force"]
    archiver += ["--export-path", str(archives), "--model-name"]
    parts = ["--model-file", mnist / "mnist.py", "--serialized-file", mnist / "mnist_cnn.pt"]
    subprocess.run([*archiver, "mnist", *parts, "--handler", mnist / "mnist_handler.py"], check=True)
    subprocess.run([*archiver, "resnet-18", "--handler", home / "stub.py"], check=True)
    refuses = home / "refuses.py"
    refuses.write_text(_REFUSES)
    subprocess.run([*archiver, "BERTSeqClassification", "--handler", refuses], check=True)
    for name, file in (("resnet18", "resnet18-f37072fd.pth"), ("resnet152", "resnet152-394f9c45.pth")):
        subprocess.run([sys.executable, "-c", _RESNET, name, weights / file], check=True)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing: the table is what is read."""


@contextmanager
def handed_out(folder: Path) -> Iterator[str]:
    """With the files of `folder` at the address that is yielded."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@contextmanager
def served(home: Path, name: str) -> Iterator[None]:
    """With the file `name` of the tests asking here, and the server allowed to."""
    if name not in FETCHING:
        yield
        return
    test, config = home / "test/pytest" / f"{name}.py", home / "test/pytest/config.properties"
    original = home / "web" / f"{name}.original"  # of a run that was killed, and could not put it back
    said = (original if original.exists() else test).read_text()
    original.write_text(said)
    with handed_out(home / "web") as url:
        changed = said
        for host in HOSTS:
            changed = changed.replace(host, url)
        test.write_text(changed)
        config.write_text(_CONFIG)
        try:
            yield
        finally:
            test.write_text(said)
            config.unlink()
