"""`torchserve doctor`: what is in its archive, what must not be, and that nothing missing makes it fail."""

from __future__ import annotations

import json
import os
import stat
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from torchserve.cli import doctor_parts
from torchserve.cli.main import main

SECRET = "correct horse battery staple"


def collected(tmp_path: Path, *words: str) -> dict[str, bytes]:
    """The files of an archive that is written with these words."""
    output = tmp_path / "report.tar.gz"
    done = CliRunner().invoke(main, ["doctor", "--output", str(output), *words])
    assert done.exit_code == 0, done.output
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    with tarfile.open(output) as archive:
        members = archive.getmembers()
        assert all(each.name.startswith("torchserve-doctor/") and each.isfile() for each in members)
        read = {each.name.removeprefix("torchserve-doctor/"): archive.extractfile(each) for each in members}
        return {name: file.read() for name, file in read.items() if file is not None}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "ts_log.log").write_bytes(b"old" * doctor_parts.TAIL + b"the last line\n")
    config = tmp_path / "config.properties"
    config.write_text(f"keystore_pass={SECRET}\notlp_traces_headers=authorization={SECRET}\njob_queue_size=7\n")
    monkeypatch.setenv("SOME_TOKEN", SECRET)
    monkeypatch.setattr(doctor_parts, "_WAIT", 0.5)
    return tmp_path


def test_what_can_be_had_is_there_bounded_and_without_secrets(home: Path) -> None:
    words = ("--ts-config", str(home / "config.properties"), "--logs", str(home / "logs"))
    found = collected(home, *words, "--management", "http://127.0.0.1:1")
    assert all(SECRET.encode() not in data for data in found.values())
    versions, settings = json.loads(found["versions.json"]), json.loads(found["configuration.json"])["settings"]
    assert "click" in versions["packages"]
    assert "SOME_TOKEN" in versions["environment"]
    assert (settings["job_queue_size"]["value"], settings["keystore_pass"]["value"]) == ("7", "(hidden)")
    assert len(found["logs/ts_log.log"]) == doctor_parts.TAIL
    assert found["logs/ts_log.log"].endswith(b"the last line\n")
    assert found["server/address.txt"] == b"http://127.0.0.1:1 (--management)\n"
    missing = found["missing.txt"].decode()
    assert "server/models.json: " in missing
    assert "server/models.json" not in found


def test_without_logs_and_with_a_wrong_configuration_there_is_still_a_report(home: Path) -> None:
    config = home / "config.properties"
    config.unlink()
    words = ("--ts-config", str(config), "--logs", str(home / "nowhere"), "--management", "no address")
    found = collected(home, *words)
    missing = found["missing.txt"].decode()
    assert {line.partition(": ")[0] for line in missing.splitlines()} >= {
        "configuration.json",
        "logs",
        "server/address.txt",
    }
    assert "versions.json" in found


def test_a_program_that_hangs_or_is_absent_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = home / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setattr(doctor_parts, "_DRIVERS", (("slow.txt", (str(slow),)), ("absent.txt", (str(home / "absent"),))))
    missing = collected(home, "--management", "http://127.0.0.1:1")["missing.txt"].decode()
    assert "slow.txt: " in missing
    assert "timed out" in missing
    assert "absent.txt: " in missing


def test_an_archive_is_never_written_over(home: Path) -> None:
    (home / "report.tar.gz").write_bytes(b"mine")
    done = CliRunner().invoke(main, ["doctor", "--output", str(home / "report.tar.gz")])
    assert (done.exit_code, os.strerror(17) in done.output) == (1, True)
    assert (home / "report.tar.gz").read_bytes() == b"mine"
