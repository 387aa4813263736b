"""torch-model-archiver as a command: every flag, exit codes, one line of error."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from torchserve.cli.archiver import main
from torchserve.core.archive.manifest import MANIFEST_PATH

REQUIRED = ["--model-name", "m", "--handler", "h.py", "-v", "1.0"]


@pytest.fixture(autouse=True)
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("h.py", "model.py", "w.pt", "reqs.txt", "conf.yaml", "a.txt", "b.txt"):
        Path(name).write_text(name)


def run(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def manifest(path: str) -> dict[str, object]:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(MANIFEST_PATH))


@pytest.mark.parametrize(
    ("version", "requirements", "config"),
    [("-v", "-r", "-c"), ("--version", "--requirements-file", "--config-file")],
)
def test_every_flag_in_both_spellings(version: str, requirements: str, config: str):
    flags = ["--model-name", "m", "--handler", "h.py:go", version, "2", requirements, "reqs.txt", config, "conf.yaml"]
    flags += [
        "--serialized-file",
        "w.pt",
        "--model-file=model.py",
        "--extra-files",
        "a.txt,b.txt",
        "--runtime",
        "python3",
    ]
    result = run(*flags, "--export-path", "out", "--archive-format", "zip-store")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "WARNING - Created the export path out\n"
    found = manifest("out/m.mar")
    assert found["runtime"] == "python3"
    assert found["model"] == {
        "modelName": "m",
        "serializedFile": "w.pt",
        "handler": "h:go",
        "modelFile": "model.py",
        "modelVersion": "2",
        "requirementsFile": "reqs.txt",
        "configFile": "conf.yaml",
    }
    with zipfile.ZipFile("out/m.mar") as archive:
        assert {"a.txt", "b.txt", "h.py"} <= set(archive.namelist())


@pytest.mark.parametrize(
    ("archive_format", "output"),
    [("default", "m.mar"), ("zip-store", "m.mar"), ("tgz", "m.tar.gz"), ("no-archive", "m")],
)
def test_formats_and_force(archive_format: str, output: str):
    args = [*REQUIRED, "--archive-format", archive_format]
    assert run(*args).exit_code == 0
    assert Path(output).exists()
    again = run(*args)
    assert (again.exit_code, again.stderr) == (
        1,
        f"ERROR - {output} already exists; use --force or -f to overwrite it\n",
    )
    for flag in ("-f", "--force"):
        forced = run(*args, flag)
        assert (forced.exit_code, forced.stderr) == (0, f"WARNING - Overwriting {output}\n")


@pytest.mark.parametrize("missing", ["--model-name", "--handler", "-v"])
def test_a_missing_flag_is_2(missing: str):
    at = REQUIRED.index(missing)
    result = run(*REQUIRED[:at], *REQUIRED[at + 2 :])
    assert (result.exit_code, missing in result.stderr) == (2, True)


@pytest.mark.parametrize("flag", ["--runtime", "--archive-format", "--nonsense"])
def test_a_bad_choice_is_2(flag: str):
    assert run(*REQUIRED, flag, "x").exit_code == 2


@pytest.mark.parametrize(
    "args",
    [
        ["--model-name", "bad name"],
        ["--handler", "gone.py"],
        ["--serialized-file", "gone.pt"],
        ["--extra-files", "gone.txt"],
        ["--export-path", "a.txt"],
        ["--export-path", "a.txt/deeper"],
    ],
)
def test_what_cannot_be_packed_is_1_and_one_line(args: list[str]):
    result = run(*REQUIRED, *args)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("ERROR - ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(flag: str):
    result = run(flag)
    assert result.exit_code == 0
    for name in ("model-name", "serialized-file", "model-file", "handler", "extra-files", "runtime", "export-path"):
        assert f"--{name}" in result.stdout
    for name in ("archive-format", "force", "version", "requirements-file", "config-file"):
        assert f"--{name}" in result.stdout


def test_as_a_process_without_torch():
    code = (
        "import sys; from torchserve.cli.archiver import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(sorted({'torch', 'aiohttp'} & set(sys.modules)))"
    )
    command = [sys.executable, "-P", "-c", code, *REQUIRED]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(2))
    assert (first.returncode, first.stdout, first.stderr) == (0, "[]\n", "")
    assert second.returncode == 1
    assert second.stderr == "ERROR - m.mar already exists; use --force or -f to overwrite it\n"
