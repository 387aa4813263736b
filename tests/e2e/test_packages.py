"""Packages of a model's own, from requirements.txt of its archive, on a server that has none of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..core.archive.wheels import make_wheel
from .conftest import Serve
from .live import make_model

TELLS = """
import os, sys
import tinypackage, torchserve, numpy

def handle(data, context):
    secret = os.environ.get("HIDDEN_WORD"), tinypackage.__doc__
    return data and [{"version": tinypackage.__version__, "venv": sys.prefix, "secret": secret}] * len(data)
"""


def model(store: Path, name: str, version: str, config: str = "", requirements: str | None = None) -> None:
    folder = make_model(store, name, TELLS, config="minWorkers: 1\nmaxWorkers: 1\n" + config)
    manifest = folder / "MAR-INF" / "MANIFEST.json"
    document = json.loads(manifest.read_text())
    document["model"]["requirementsFile"] = "requirements.txt"
    manifest.write_text(json.dumps(document))
    make_wheel(folder / "wheels", "tinypackage", version)
    (folder / "requirements.txt").write_text(requirements or "--no-index\n--find-links wheels\ntinypackage\n")


@pytest.fixture
def properties(tmp_path: Path) -> str:
    return f"install_py_dep_per_model=true\npackage_folder={tmp_path / 'kept'}\nblacklist_env_vars=HIDDEN_.*"


def test_each_model_has_its_own(serve: Serve, store: Path, tmp_path: Path, properties: str):
    model(store, "one", "1.0")
    model(store, "two", "2.0", "useVenv: true\n")
    server = serve("one", "two", properties=properties, env={"HIDDEN_WORD": "x"})
    for name in ("one", "two"):
        server.ready(name)
    one, two = (server.predict(name, b"x").json for name in ("one", "two"))
    assert (one["version"], two["version"]) == ("1.0", "2.0")
    assert [each["secret"] for each in (one, two)] == [[None, None]] * 2
    assert not one["venv"].startswith(str(tmp_path))
    assert two["venv"].startswith(str(tmp_path / "kept"))
    described = [server.manage("GET", f"/models/{name}").json[0]["useVenv"] for name in ("one", "two")]
    assert described == [False, True]


def test_what_pip_says_is_the_answer_and_nothing_stays(serve: Serve, store: Path, properties: str):
    model(store, "wrong", "1.0", requirements="--no-index\nno-such-package-anywhere\n")
    server = serve(properties=properties)
    answer = server.manage("POST", "/models?url=wrong&initial_workers=1&synchronous=true")
    assert (answer.status, answer.json["type"]) == (400, "ModelException")
    assert answer.message.startswith("Custom pip package installation failed for model wrong\n")
    assert "No matching distribution found for no-such-package-anywhere" in answer.message
    assert server.manage("GET", "/models/wrong").status == 404


def test_without_the_switch_nothing_is_installed_and_the_log_says_so(serve: Serve, store: Path):
    model(store, "one", "1.0")
    server = serve("one")
    server.until_logged("requirements.txt of model one is not installed")
    server.until_logged("No module named 'tinypackage'")
