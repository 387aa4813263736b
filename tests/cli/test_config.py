"""`torchserve config`: values with their sources, and a check that fails on errors."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from torchserve.cli.config import _table
from torchserve.cli.main import main
from torchserve.core.config.keys import KEYS
from torchserve.core.config.saved_models import SavedModels
from torchserve.core.models.snapshot import Snapshot
from torchserve.core.models.snapshot_folder import SnapshotFolder


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("TS_CONFIG_FILE", "LOG_LOCATION"):
        monkeypatch.delenv(name, raising=False)


def config(*words: str, **env: str) -> Result:
    return CliRunner(env=env).invoke(main, ["config", *words])


def test_show_names_each_value_and_its_source() -> None:
    Path("c.properties").write_text("enable_envvars_config=true\njob_queue_size=7\n")
    words = ["--ts-config", "c.properties", "--models", "a", "b=c", "--dt"]
    result = config("show", *words, TS_MAX_REQUEST_SIZE="9")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == len(KEYS)
    for line in [
        "job_queue_size=7  (c.properties, line 2)",
        "load_models=a,b=c  (--models)",
        "disable_token_authorization=true  (--disable-token-auth)",
        "max_request_size=9  (TS_MAX_REQUEST_SIZE)",
        "default_startup_timeout=120  (default)",
    ]:
        assert line in lines


def test_on_a_terminal_a_value_is_no_markup() -> None:
    output = io.StringIO()
    Console(file=output, width=80).print(_table([("allowed_urls", "[a-z]+[/x]", "[c], line 1")]))
    assert "[a-z]+[/x]" in output.getvalue()
    assert "[c], line 1" in output.getvalue()


def test_show_as_json_reads_the_file_of_the_environment() -> None:
    Path("e.properties").write_text("model_store=x\njobs=1\n")
    result = config("show", "--json", TS_CONFIG_FILE="e.properties")
    shown = json.loads(result.stdout)
    assert list(shown) == list(KEYS)
    assert shown["model_store"] == {"value": "x", "source": "e.properties, line 1"}
    assert result.stderr == "warning: e.properties, line 2: unknown key jobs is ignored\n"


def test_show_reads_the_snapshot_that_a_start_would_read() -> None:
    Path("config.properties").write_text("model_store=own\n")
    SnapshotFolder(Path("logs/config")).write(Snapshot({"model_store": "saved"}, SavedModels()), "startup", 1)
    env = {"LOG_LOCATION": "logs"}
    assert "model_store=saved  (" in config("show", **env).stdout
    assert "model_store=own  (config.properties, line 1)" in config("show", "--ncs", **env).stdout
    assert "model_store=own  (config.properties, line 1)" in config("show", LOG_LOCATION="elsewhere").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "--ts-config", "none"], "--ts-config file not found: none"),
        (["show", "--ts-config", "wrong"], "Invalid configuration: job_queue_size=x in wrong, line 1"),
        (["check", "none"], "none can't be read: No such file or directory"),
    ],
)
def test_what_cannot_be_shown_or_read_is_an_error(words: list[str], said: str) -> None:
    Path("wrong").write_text("job_queue_size=x\n")
    result = config(*words)
    assert (result.exit_code, said in result.stderr) == (1, True), result.output


def test_check_lists_every_error_and_remark() -> None:
    Path("c").write_text("job_queue_size=abc\nmax_request_size=0\nvmargs=-X\njob_queue_sise=1\npython=$$NO_SUCH$$\n")
    result = config("check", "c")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "warning: c, line 4: unknown key job_queue_sise is ignored; did you mean job_queue_size?",
        'error: job_queue_size=abc in c, line 1: For input string: "abc"',
        "error: max_request_size=0 in c, line 2: 0 is outside 1 to 2147483647",
        "error: Invalid Environment Variable NO_SUCH in python of c, line 5",
        "note: c: without effect here: vmargs",
        "c: 3 errors, 2 remarks",
    ]
    assert {each["level"] for each in json.loads(config("check", "c", "--json").stdout)} == {"error", "warning", "note"}


def test_check_names_what_a_start_would_refuse() -> None:
    Path("c").write_text("model_store=gone\n")
    result = config("check", "c")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == "error: c: model_store directory not found: gone"


def test_check_of_a_right_file_passes() -> None:
    Path("c").write_text("job_queue_size=3\n")
    result = config("check", "c")
    assert (result.exit_code, result.stdout) == (0, "c: 0 errors, 0 remarks\n")
