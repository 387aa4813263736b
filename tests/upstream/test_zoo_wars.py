"""The stand-ins for the workflows of TorchServe's zoo, made of a checkout that is made up."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from . import pytest_files, web, zoo_wars
from .checkout import prepare

ZOO = "https://torchserve.s3.amazonaws.com/war_files"
SPEC = """
models: {densenet: {url: "https://torchserve-mar-files.s3.amazonaws.com/workflows/densenet_wf.mar"}}
dag: {pre: [densenet]}
"""
ASKS_WHOSE_IT_IS = """
from pathlib import Path
import workflow_archiver

def test_it_is_ours_and_the_folder_is_the_checkouts():
    assert not Path(workflow_archiver.__file__).is_relative_to(Path.cwd())
    assert Path("workflow_archiver/version.txt").read_text() == "0.0.1"
"""


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_rows_ask_a_local_server_for_archives_of_the_checkouts_specs_and_functions(tmp_path: Path) -> None:
    upstream, handed_out, store = (tmp_path / name for name in ("serve", "zoo", "store"))
    handed_out.mkdir()
    store.mkdir()
    resources = "frontend/server/src/test/resources"
    put(upstream / resources / "densenet_workflow.yaml", SPEC)
    put(upstream / resources / "densenet_workflow_handler.py", "def pre(data, context): ...\n")
    packed = upstream / "frontend/archive/src/test/resources"
    put(packed / "models/prediction-memory-error.mar", "a model")
    (packed / "workflows").mkdir()
    with zipfile.ZipFile(packed / "workflows/retry_timeout_test.war", "w") as war:
        war.writestr("WAR-INF/MANIFEST.json", json.dumps({"workflow": {"workflowName": "retry", "specFile": "s.yaml"}}))
    asked = [
        {"workflow_url": f"{ZOO}/densenet_wf.war", "workflow_name": "densenet", "expected": {"tabby": 0.5}},
        {"path": f"workflows?url={ZOO}/timeout-retry-test.war", "status_code": 500, "file": "../examples/kitten.jpg"},
    ]
    rows = zoo_wars.furnish(upstream, handed_out, store, "http://here", asked)
    assert rows[0] == asked[0] | {"workflow_url": "http://here/densenet_wf.war"}
    assert rows[1] == {
        "path": "workflows?url=http://here/timeout-retry-test.war",
        "status_code": 500,
        "file": str(upstream / "examples/kitten.jpg"),
    }
    with zipfile.ZipFile(handed_out / "densenet_wf.war") as war:
        assert "http://here/densenet_wf.mar" in war.read("densenet_workflow.yaml").decode()
        workflow = json.loads(war.read("WAR-INF/MANIFEST.json"))["workflow"]
    assert workflow == {
        "workflowName": "densenet",
        "specFile": "densenet_workflow.yaml",
        "handler": "densenet_workflow_handler.py",
    }
    with zipfile.ZipFile(handed_out / "timeout-retry-test.war") as war:
        assert json.loads(war.read("WAR-INF/MANIFEST.json"))["workflow"]["workflowName"] == "densenet"
    with zipfile.ZipFile(handed_out / "densenet_wf.mar") as mar:
        assert json.loads(mar.read("told.json"))["predict"] == {"tabby": 0.5}
    assert (store / "prediction-memory-error.mar").read_text() == "a model"
    assert not (handed_out / "dog_breed_wf.war").exists()  # this checkout has no such example


@pytest.mark.thorough
def test_the_archivers_own_tests_find_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytest_files, "PORTS", ())
    upstream, home = tmp_path / "serve", tmp_path / "home"
    package = upstream / "workflow-archiver/workflow_archiver"
    put(package / "__init__.py", "raise ImportError('this is not to be asked')\n")
    put(package / "version.txt", "0.0.1")
    put(package / "tests/unit_tests/test_whose.py", ASKS_WHOSE_IT_IS)
    prepare(upstream, home)
    (name,) = pytest_files.names(upstream)
    assert name == "workflow_archiver/test_whose"
    (outcome,) = pytest_files.run(home, upstream, name)
    assert (outcome.suite, outcome.state) == (f"pytest {name}", "passed"), outcome


def test_what_is_handed_out_ends_with_its_context(tmp_path: Path) -> None:
    put(tmp_path / "a.war", "an archive")
    with web.handed_out(tmp_path) as url, urlopen(f"{url}/a.war") as answer:
        assert answer.read() == b"an archive"
    with pytest.raises(URLError):
        urlopen(f"{url}/a.war")
