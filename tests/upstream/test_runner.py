"""The runner over a small checkout that is made up: a test file, and a collection as newman would report it."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from . import pytest_files
from .__main__ import main
from .checkout import prepare
from .departures import DEPARTURES

TESTS = """
import pytest, ts
def test_passes():
    assert ts.__file__
def test_fails():
    assert 1 == 2
@pytest.mark.parametrize("number", [1, 2])
def test_departs(number):
    assert not number
@pytest.mark.skipif(True, reason="no GPU")
def test_skipped():
    pass
"""
IN_THE_SERVER = """
import pathlib
def test_asks_it():
    pathlib.Path("logs").mkdir()
    pathlib.Path("logs/model_log.log").write_text("No module " + "named 'torchtext'")
    assert 404 == 200
"""
COUNTS_ON_PIP = """
def setup_module():
    print("Can't uninstall 'matplotlib'. No files were found to uninstall.")
def test_passes():
    pass
def test_model_cannot_load():
    assert 200 == 500
"""
PROTO = """
syntax = "proto3";
import "google/rpc/status.proto";
message Answer { google.rpc.Status status = 1; }
"""
ASKS_FOR_AN_ARCHIVE = """
def test_registers():
    url = "https://models.invalid/mar_files/bert.mar"
    assert 404 == 200
"""
COLLECTION = {
    "info": {"name": "made up", "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"},
    "item": [{"name": "List", "request": {"method": "GET", "url": "http://localhost:{{mgmt-port}}/models"}}],
}
ENVIRONMENT = {"values": [{"key": "mgmt-port", "value": "8081"}, {"key": "mar_path_m", "value": "m.mar"}]}
# It does what newman does with a collection of GETs: sends each, and reports it.
NEWMAN = """#!{python}
import json, sys, urllib.request
arguments = sys.argv[2:]
collection = json.load(open(arguments[0]))
values = {{each["key"]: each["value"] for each in json.load(open(arguments[arguments.index("-e") + 1]))["values"]}}
rows = json.load(open(arguments[arguments.index("-d") + 1]))
executions = []
for iteration, row in enumerate(rows):
    for item in collection["item"]:
        url = item["request"]["url"]
        for name, value in values.items():
            url = url.replace("{{{{" + name + "}}}}", value)
        tested = {{"assertion": "Status code"}}
        status = urllib.request.urlopen(url).status
        if status != row["status_code"]:
            tested["error"] = {{"message": f"got {{status}}"}}
        executions.append({{"cursor": {{"iteration": iteration}}, "item": item, "assertions": [tested]}})
with open(arguments[arguments.index("--reporter-json-export") + 1], "w") as report:
    json.dump({{"run": {{"executions": executions}}}}, report)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    made = tmp_path / "checkout"
    for folder in ("test/pytest", "test/postman", "test/resources"):
        (made / folder).mkdir(parents=True)
    (made / "test/pytest/test_made_up.py").write_text(TESTS)
    (made / "test/pytest/test_server.py").write_text(IN_THE_SERVER)
    (made / "test/pytest/test_counts_on_pip.py").write_text(COUNTS_ON_PIP)
    (made / "test/pytest/test_asks_for_an_archive.py").write_text(ASKS_FOR_AN_ARCHIVE)
    (made / "test/pytest/test_made_up_utils.py").write_text("import no_stub\n")
    (made / "test/pytest/test_hindered.py").write_text("import no_such_module\n")
    (made / "test/postman/management_api_test_collection.json").write_text(json.dumps(COLLECTION))
    (made / "test/postman/environment.json").write_text(json.dumps(ENVIRONMENT))
    (made / "test/postman/management_data.json").write_text(json.dumps([{"status_code": 200}, {"status_code": 418}]))
    return made


@pytest.fixture
def run(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(pytest_files, "PORTS", ())  # others' servers on this machine are no matter here

    def run(*arguments: str) -> tuple[int, str]:
        code = main([str(checkout), "--home", str(tmp_path / "home"), *arguments])
        return code, capsys.readouterr().out

    return run


@pytest.mark.thorough
def test_each_row_of_a_file_is_told_and_a_new_failure_is_a_step_back(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEPARTURES, "pytest test_made_up: test_departs[1]", "by intent")
    monkeypatch.setitem(DEPARTURES, "pytest test_made_up: test_departs[2]", "by intent, too")
    code, shown = run("--only", "pytest test_*")
    assert code == 1
    assert "| pytest test_made_up | 1 | 2 | 1 | 1 |  |\n" in shown
    assert "- pytest test_made_up: test_fails: assert 1 == 2\n" in shown
    assert "- pytest test_made_up: test_departs[1]: by intent\n" in shown
    assert "- pytest test_made_up: test_skipped: skipped: no GPU\n" in shown
    told = "the server's log says that there is no module torchtext; the row: assert 404 == 200"
    assert f"- pytest test_server: test_asks_it: {told}\n" in shown
    told = "pip can't uninstall matplotlib from this environment; the row: assert 200 == 500"
    assert f"- pytest test_counts_on_pip: test_model_cannot_load: {told}\n" in shown
    assert (
        "- pytest test_asks_for_an_archive: test_registers: there is no network that leads to models.invalid\n" in shown
    )
    assert "no_stub" not in shown
    assert "- pytest test_hindered: all: there is no module no_such_module\n" in shown


def test_the_modules_of_the_grpc_tests_are_made_without_submodules(checkout: Path, tmp_path: Path) -> None:
    protos = checkout / "frontend/server/src/main/resources/proto"
    protos.mkdir(parents=True)
    for name in ("inference", "management"):
        (protos / f"{name}.proto").write_text(PROTO.replace("Answer", name.title()))
    prepare(checkout, tmp_path / "copy")
    imported = "import inference_pb2, management_pb2_grpc; inference_pb2.Inference().status.code"
    subprocess.run([sys.executable, "-c", imported], cwd=tmp_path / "copy/test/pytest", check=True)


@pytest.mark.parametrize(
    ("name", "expected", "answered"),
    [("inference_data", {"tabby": 0.5}, [{"tabby": 0.5}]), ("inference_stream_data", "good day to you", ["you "])],
)
def test_rows_of_the_grpc_tests_register_archives_that_answer_what_they_expect(
    checkout: Path, tmp_path: Path, name: str, expected: object, answered: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"model_name": "m", "url": "https://models.invalid/m.mar", "expected": expected}
    (checkout / f"test/postman/{name}.json").write_text(json.dumps([row]))
    prepare(checkout, tmp_path / "copy")
    (row,) = json.loads((tmp_path / f"copy/test/postman/{name}.json").read_text())
    sent: list[str] = []
    monkeypatch.setattr(
        "ts.handler_utils.utils.send_intermediate_predict_response", lambda words, *_: sent.extend(words)
    )
    with zipfile.ZipFile(row["url"].removeprefix("file://")) as archive:
        archive.extractall(tmp_path / "model")
    made: dict[str, Any] = {}
    exec((tmp_path / "model/handler.py").read_text(), made)
    (handler,) = (each() for each in made.values() if isinstance(each, type))
    context = SimpleNamespace(
        system_properties={"model_dir": tmp_path / "model"}, request_ids={}, get_request_header=lambda *_: None
    )
    handler.initialize(context)
    assert handler.handle([b"x"], context) == answered
    assert sent == (str(expected).split()[:-1] if isinstance(expected, str) else [])


@pytest.mark.thorough
def test_known_departures_are_no_step_back_until_they_pass(run, monkeypatch: pytest.MonkeyPatch) -> None:
    for row in ("test_fails", "test_departs[1]", "test_departs[2]"):
        monkeypatch.setitem(DEPARTURES, f"pytest test_made_up: {row}", "by intent")
    assert run("--only", "pytest test_made_up")[0] == 0
    monkeypatch.setitem(DEPARTURES, "pytest test_made_up: test_passes", "by intent")
    code, shown = run("--only", "pytest test_made_up")
    assert code == 1
    assert "passes by now:\n- pytest test_made_up: test_passes: by intent\n" in shown


def test_a_collection_is_sent_to_a_server_of_its_own(run, tmp_path: Path) -> None:
    newman = tmp_path / "newman"
    newman.write_text(NEWMAN.format(python=sys.executable))
    newman.chmod(newman.stat().st_mode | stat.S_IXUSR)
    code, shown = run("--only", "postman management", "--newman", str(newman))
    assert code == 1
    assert "| postman management | 1 |  |  | 1 |  |\n" in shown
    assert "- postman management: 2 List: Status code: got 200\n" in shown


def test_collections_that_the_checkout_lacks_are_told(run) -> None:
    code, shown = run("--only", "postman https")
    assert code == 0
    assert "- postman https: all: https_test_collection.json is not in the checkout\n" in shown


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "is no checkout" in capsys.readouterr().err
