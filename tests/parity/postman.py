"""`python -m tests.parity.postman --upstream CHECKOUT --newman PATH`: TorchServe's own Postman collections against this
server. The models of its zoo are stood in for by archives that answer what a row expects; ports are free ones.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchserve.core.version import __version__

from .steps import Setup
from .subject import Subject

_HANDLER = """
import json, pathlib

class Answers:
    def initialize(self, context):
        self.told = json.loads(pathlib.Path(context.system_properties["model_dir"], "told.json").read_text())

    def handle(self, data, context):
        explain = [context.get_request_header(i, "explain") == "True" for i in range(len(data))]
        return [self.told["explain" if wanted else "predict"] for wanted in explain]
"""
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


COLLECTIONS = (
    Collection("management", "management_api_test_collection", "management_data"),
    Collection("inference", "inference_api_test_collection", "inference_data", "metrics_mode=prometheus\n"),
    Collection("explanation", "explanation_api_test_collection", "explanation_data", "metrics_mode=prometheus\n"),
    Collection("kserve v1", "kf_api_test_collection", "kf_inference_data", "metrics_mode=prometheus\n"),
    Collection("kserve v2", "kfv2_api_test_collection", "kfv2_inference_data", "metrics_mode=prometheus\n"),
    Collection("https", "https_test_collection", tls=True),
    Collection("kserve v1 over https", "kf_https_test_collection", tls=True),
    Collection("kserve v2 over https", "kfv2_https_test_collection", tls=True),
)


def archive(store: Path, name: str, predict: Any, explain: Any) -> None:
    """An archive that answers these two things."""
    manifest = {"runtime": "python", "model": {"modelName": name, "modelVersion": "1.0", "handler": "handler.py"}}
    with zipfile.ZipFile(store / f"{name}.mar", "w") as mar:
        mar.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        mar.writestr("handler.py", _HANDLER)
        mar.writestr("told.json", json.dumps({"predict": predict, "explain": explain}))


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


def run(collection: Collection, upstream: Path, newman: Path, home: Path) -> dict[str, Any]:
    """Newman's own count of assertions, and which failed."""
    postman, flags = upstream / "test" / "postman", ("--ncs", "--disable-token-auth", "--enable-model-api")
    if not (postman / f"{collection.file}.json").exists():
        return {"why": f"{collection.file}.json is not in the checkout"}
    resources = upstream / "test" / "resources"
    pair = ("certs.pem", "key.pem") if collection.tls else ()
    certificates = tuple((name, (resources / name).read_text()) for name in pair)
    properties = (_TLS if collection.tls else "") + collection.properties
    setup = Setup(
        collection.name, (), properties=properties, flags=flags, files=(("input.jpg", "not really a picture"), *certificates)
    )  # fmt: skip
    with Subject(Path(sys.executable).parent, __version__, setup, home) as subject:
        for name in _MANAGED:
            archive(home / "store", name, "a prediction", "an explanation")
        command = [
            newman,
            "run",
            _ported(postman / f"{collection.file}.json", subject),
            "--insecure",
            "--reporters",
            "json",
        ]
        command += [
            "-e",
            _environment(postman / "environment.json", subject),
            "--reporter-json-export",
            home / "report.json",
        ]
        for file in _SENT:  # relative to the folder newman runs in
            (home / file).resolve().parent.mkdir(parents=True, exist_ok=True)
            (home / file).resolve().write_text('{"instances": [1]}')
        if collection.data:
            rows = json.loads((postman / f"{collection.data}.json").read_text())
            if "inference" in collection.data or "explanation" in collection.data:
                rows = offline(rows, home / "store", home / "input.jpg")
            (home / "data.json").write_text(json.dumps(rows))
            command += ["-d", home / "data.json"]
        done = subprocess.run([str(part) for part in command], cwd=home, capture_output=True, text=True, check=False)
        if not (home / "report.json").exists():
            return {"why": (done.stdout + done.stderr)[-500:]}
        return _summary(json.loads((home / "report.json").read_text())["run"])


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


def _summary(found: dict[str, Any]) -> dict[str, Any]:
    counts = found["stats"]["assertions"]
    failures = [
        f"row {failure['cursor']['iteration'] + 1}, {failure['source'].get('name', '?')}: {failure['error']['message']}"
        for failure in found["failures"]
    ]
    return {"passed": counts["total"] - counts["failed"], "of": counts["total"], "failures": failures}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity.postman")
    parser.add_argument("--upstream", type=Path, required=True, help="a checkout of pytorch/serve")
    parser.add_argument("--newman", type=Path, required=True, help="newman, as npm installs it")
    parser.add_argument("--only", action="append")
    options = parser.parse_args()
    bad = 0
    for collection in COLLECTIONS:
        if options.only and collection.name not in options.only:
            continue
        with tempfile.TemporaryDirectory(prefix="postman-") as folder:
            try:
                result = run(collection, options.upstream.absolute(), options.newman.absolute(), Path(folder) / "h")
            except Exception as error:  # the others are to run all the same
                result = {"why": f"{type(error).__name__}: {error}"[-600:]}
        bad += "why" in result or bool(result["failures"])
        print(
            f"{collection.name}: {result.get('why') or str(result['passed']) + ' of ' + str(result['of'])}", flush=True
        )
        for line in result.get("failures", [])[:12]:
            print(f"  {line}", flush=True)
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
