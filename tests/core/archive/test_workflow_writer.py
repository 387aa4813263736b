"""pack_workflow() and its command, beside what torch-workflow-archiver 0.2.15 was seen to do with the same words."""

from __future__ import annotations

import json
import zipfile
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from torchserve.cli.workflow_archiver import main
from torchserve.core.archive.workflow_writer import WORKFLOW_MANIFEST_PATH

FACTS = json.loads((Path(__file__).parent / "fixtures" / "workflow_archiver_0_2_15.json").read_text())


@pytest.fixture(autouse=True)
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FACTS["files"].items():
        Path(name).write_text(text)
    Path("folder").mkdir()


@pytest.mark.parametrize("case", FACTS["cases"], ids=lambda case: " ".join(case["arguments"]))
def test_as_upstream(case: dict):
    for before in case.get("after", []):
        assert CliRunner().invoke(main, before).exit_code == 0
    result = CliRunner().invoke(main, case["arguments"])
    assert result.exit_code == case.get("ours", case)["exit"]
    assert case["says"] in result.output
    if result.exit_code:
        assert "Traceback" not in result.output
        return
    with zipfile.ZipFile("wf.war") as archive:
        assert sorted(archive.namelist()) == sorted(case["entries"])
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_DEFLATED}
        manifest = json.loads(archive.read(WORKFLOW_MANIFEST_PATH))
    assert list(manifest) == ["createdOn", "workflow", "archiverVersion"]
    assert manifest["workflow"] == case["workflow"]
    assert datetime.strptime(manifest["createdOn"], "%d/%m/%Y %H:%M:%S")


def test_a_failed_one_leaves_the_old_archive_and_nothing_else():
    arguments = ["--workflow-name", "wf", "--spec-file", "s.yaml", "-f"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    before = Path("wf.war").read_bytes()
    assert CliRunner().invoke(main, [*arguments, "--extra-files", "nothing.txt"]).exit_code == 1
    assert Path("wf.war").read_bytes() == before
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []
