"""TorchServe's Postman collections, run by newman.

The models of its zoo are stood in for by archives that answer what a row expects; ports are free ones.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchserve.core.version import __version__

from ..parity.steps import Setup
from ..parity.subject import Subject
from . import web, zoo_wars
from .stubs import archive
from .table import CANNOT, FAILED, PASSED, Outcome

_MANAGED = ("squeezenet1_1", "mnist", "densenet161", "resnet-152-batch", "resnet-18")
_PORTS = {"mgmt-port": "management", "pred-port": "inference", "metric-port": "metrics"}
_KSERVE = "../kubernetes/kserve/kf_request_json"
_SENT = (
    "../examples/image_classifier/kitten.jpg",
    f"{_KSERVE}/v1/mnist.json",
    f"{_KSERVE}/v2/mnist/mnist_v2_tensor.json",
)
_SECURE = {f"sec-{name}": face for name, face in _PORTS.items()}
_TLS = (
    "inference_address=https://127.0.0.1:{inference}\nmanagement_address=https://127.0.0.1:{management}\n"
    "metrics_address=https://127.0.0.1:{metrics}\ncertificate_file={home}/certs.pem\nprivate_key_file={home}/key.pem\n"
)


@dataclass(frozen=True)
class Collection:
    name: str
    file: str
    data: str = ""
    properties: str = ""
    tls: bool = False
    wars: bool = False


COLLECTIONS = (
    Collection("management", "management_api_test_collection", "management_data"),
    Collection("inference", "inference_api_test_collection", "inference_data", "metrics_mode=prometheus\n"),
    Collection(
        "increased timeout", "inference_api_test_collection", "increased_timeout_inference", "metrics_mode=prometheus\n"
    ),
    Collection(
        "large models", "inference_api_test_collection", "large_model_inference_data", "metrics_mode=prometheus\n"
    ),
    Collection("workflow", "workflow_api_test_collection", "workflow_data", wars=True),
    Collection("workflow inference", "workflow_inference_collection", "workflow_inference_data", wars=True),
    Collection("explanation", "explanation_api_test_collection", "explanation_data", "metrics_mode=prometheus\n"),
    Collection("kserve v1", "kf_api_test_collection", "kf_inference_data", "metrics_mode=prometheus\n"),
    Collection("kserve v2", "kfv2_api_test_collection", "kfv2_inference_data", "metrics_mode=prometheus\n"),
    Collection("https", "https_test_collection", tls=True),
    Collection("kserve v1 over https", "kf_https_test_collection", tls=True),
    Collection("kserve v2 over https", "kfv2_https_test_collection", tls=True),
)


def _told(value: Any) -> Any:
    """Expectations are JSON, or JSON in a text, or Python's way to write it in a text, or plain text."""
    return value if value is not None else "anything"


def offline(rows: list[dict[str, Any]], store: Path, picture: Path) -> list[dict[str, Any]]:
    """The rows of an inference collection, with an archive of their own in the store and a file that is there."""
    changed = []
    for row in rows:
        archive(store, row["model_name"], _told(row.get("expected")), _told(row.get("expected_explain")))
        changed.append(row | {"url": f"{row['model_name']}.mar", "file": str(picture)})
    return changed


def run(collection: Collection, upstream: Path, newman: str) -> Iterator[Outcome]:
    """The rows of a collection: each request with all that is tested of its answer, for each line of the data."""
    suite = f"postman {collection.name}"
    if not (upstream / "test/postman" / f"{collection.file}.json").exists():
        yield Outcome(suite, "all", CANNOT, f"{collection.file}.json is not in the checkout")
        return
    if not newman:
        yield Outcome(suite, "all", CANNOT, "newman is not installed: npm makes it, where there is one")
        return
    with tempfile.TemporaryDirectory(prefix="postman-") as folder:
        home, zoo = Path(folder) / "h", Path(folder) / "zoo"
        zoo.mkdir()
        try:
            with web.handed_out(zoo) as url:
                setup = _setup(collection, upstream, url)
                with Subject(Path(sys.executable).parent, __version__, setup, home) as subject:
                    lines = _lines(collection, upstream, home, zoo, url)
                    found, said = _newman(collection, upstream, newman, subject, lines)
        except Exception as error:  # the other collections are to run all the same
            found, said = None, f"{type(error).__name__}: {error}"
        if found is None:
            yield Outcome(suite, "all", FAILED, " ".join(said.split())[-300:])
        else:
            yield from rows(suite, found)


def _setup(collection: Collection, upstream: Path, url: str) -> Setup:
    resources = upstream / "test/resources"
    pair = ("certs.pem", "key.pem") if collection.tls else ()
    files = (("input.jpg", "not really a picture"), *((name, (resources / name).read_text()) for name in pair))
    properties = (_TLS if collection.tls else "") + collection.properties
    properties += f"allowed_urls={url}/.*\n" if collection.wars else ""
    flags = ("--ncs", "--disable-token-auth", "--enable-model-api")
    return Setup(collection.name, (), properties=properties, flags=flags, files=files)


def _lines(collection: Collection, upstream: Path, home: Path, zoo: Path, url: str) -> list[dict[str, Any]]:
    """The rows of a collection's data. What they name is in the store of `home`, or in `zoo`, which is served at `url`."""
    for name in _MANAGED:
        archive(home / "store", name, "a prediction", "an explanation")
    if not collection.data:
        return []
    lines = json.loads((upstream / "test/postman" / f"{collection.data}.json").read_text())
    if collection.wars:
        return zoo_wars.furnish(upstream, zoo, home / "store", url, lines)
    return offline(lines, home / "store", home / "input.jpg") if "model_name" in lines[0] else lines


def _newman(
    collection: Collection, upstream: Path, newman: str, subject: Subject, lines: list[dict[str, Any]]
) -> tuple[dict[str, Any] | None, str]:
    """Newman's report of its run, and what it printed."""
    postman, home = upstream / "test/postman", subject.home
    for file in _SENT:  # relative to the folder newman runs in
        (home / file).resolve().parent.mkdir(parents=True, exist_ok=True)
        (home / file).resolve().write_text('{"instances": [1]}')
    report = home / "report.json"
    command: list[object] = [newman, "run", _ported(postman / f"{collection.file}.json", subject), "--insecure"]
    command += ["--reporters", "json", "--reporter-json-export", report]
    if (postman / "environment.json").exists():
        command += ["-e", _environment(postman / "environment.json", subject)]
    if lines:
        (home / "data.json").write_text(json.dumps(lines))
        command += ["-d", home / "data.json"]
    done = subprocess.run(list(map(str, command)), cwd=home, capture_output=True, text=True, check=False)
    found = json.loads(report.read_text())["run"] if report.exists() else None
    return found, done.stdout + done.stderr


def rows(suite: str, run: dict[str, Any]) -> Iterator[Outcome]:
    """The outcomes of a run in newman's report: one of each request that was sent, in their order."""
    several = max((each["cursor"]["iteration"] for each in run["executions"]), default=0) > 0
    for each in run["executions"]:
        row = (f"{each['cursor']['iteration'] + 1} " if several else "") + each["item"]["name"]
        wrong = [tested for tested in each.get("assertions") or () if tested.get("error")]
        if each.get("requestError"):
            yield Outcome(suite, row, FAILED, str(each["requestError"].get("message", each["requestError"])))
        elif wrong:
            reason = "; ".join(f"{tested['assertion'].strip()}: {tested['error']['message']}" for tested in wrong)
            yield Outcome(suite, row, FAILED, reason)
        else:
            yield Outcome(suite, row, PASSED)


def _ported(file: Path, subject: Subject) -> Path:
    """The collection; it names the metrics port outright."""
    copy = subject.home / file.name
    text = file.read_text().replace("localhost:8082", f"localhost:{subject.ports['metrics']}")
    # The URL is also there in parts: {"host": ["localhost"], "port": "8082"}.
    copy.write_text(text.replace('"port": "8082"', f'"port": "{subject.ports["metrics"]}"'))
    return copy


def _environment(file: Path, subject: Subject) -> Path:
    found = json.loads(file.read_text())
    for value in found["values"]:
        face = (_PORTS | _SECURE).get(value["key"])
        if face:
            value["value"] = str(subject.ports[face])
        elif value["key"].startswith("mar_path_"):
            value["value"] = value["key"].removeprefix("mar_path_") + ".mar"
    copy = subject.home / "environment.json"
    copy.write_text(json.dumps(found))
    return copy


def find_newman(given: str | None) -> str:
    """The program: the one that was named, the one that `make upstream` has installed, or that of the path."""
    own = Path(__file__).parents[2] / "build/upstream/node/node_modules/.bin/newman"
    return given or (str(own) if own.exists() else "") or shutil.which("newman") or ""
