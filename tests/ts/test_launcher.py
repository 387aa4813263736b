"""ts.launcher and model_archiver, as scripts and tests of model authors use them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_archiver import ModelArchiver, ModelArchiverConfig
from model_archiver.manifest_components.manifest import RuntimeType
from model_archiver.model_archiver_error import ModelArchiverError
from ts import launcher

HANDLER = "def handle(data, context):\n    return data and ['hello'] * len(data)\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, and a temp folder of its own, so that no other server is stopped."""
    for name in ("tmp", "store"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("LOG_LOCATION", str(tmp_path / "logs"))
    addresses = [f"{face}_address=http://127.0.0.1:0" for face in ("inference", "management", "metrics")]
    addresses += ["grpc_inference_port=0", "grpc_management_port=0"]
    (tmp_path / "config.properties").write_text("\n".join(addresses))
    return tmp_path


@pytest.fixture
def stopped(home: Path) -> Iterator[None]:
    yield
    launcher.stop()


def pack(home: Path, name: str) -> None:
    (home / "handler.py").write_text(HANDLER)
    ModelArchiver.generate_model_archive(
        ModelArchiverConfig(
            model_name=name,
            handler=str(home / "handler.py"),
            version="1.0",
            runtime=RuntimeType.PYTHON.value,
            export_path=str(home / "store"),
        )
    )


def lines_until(queue, text: str) -> list[str]:
    found: list[str] = []
    while not found or text not in found[-1]:
        found.append(queue.get(timeout=60))
    return found


@pytest.mark.usefixtures("stopped")
def test_start_gives_the_log_and_stop_ends_it(home: Path):
    pack(home, "m")
    queue = launcher.start(str(home / "store"), "config.properties", no_config_snapshots=True, models="m=m.mar")
    assert "has loaded its model" in lines_until(queue, "has loaded its model")[-1]
    launcher.stop()
    assert lines_until(queue, "Torchserve stopped")[-1].endswith("\n")
    assert queue.get(timeout=60) is None


@pytest.mark.usefixtures("stopped")
def test_a_second_start_takes_the_place_of_the_first(home: Path):
    first = launcher.start(home / "store", home / "config.properties", no_config_snapshots=True)
    second = launcher.start(home / "store", home / "config.properties", no_config_snapshots=True)
    assert lines_until(first, "Torchserve stopped")
    assert second.empty() or second.get() is not None


def test_a_start_that_fails_prints_why(home: Path, capfd: pytest.CaptureFixture[str]):
    queue = launcher.start("/nowhere", "config.properties")
    assert queue.get(timeout=60) is None
    assert "--model-store directory not found: /nowhere" in capfd.readouterr().out


def test_stop_without_a_server_says_so(home: Path, capfd: pytest.CaptureFixture[str]):
    launcher.stop()
    assert "TorchServe is not currently running." in capfd.readouterr().out


def test_register_model_asks_port_8081(monkeypatch: pytest.MonkeyPatch):
    import requests

    asked: list[object] = []
    monkeypatch.setattr(requests, "post", lambda url, **more: asked.append((url, more["params"])) or "answer")
    assert launcher.register_model("m", "m.mar") == "answer"
    parameters = [("model_name", "m"), ("url", "m.mar"), ("initial_workers", "1"), ("synchronous", "true")]
    assert asked == [("http://localhost:8081/models", parameters)]


def test_archives_from_python(home: Path):
    pack(home, "m")
    with zipfile.ZipFile(home / "store" / "m.mar") as archive:
        assert sorted(archive.namelist()) == ["MAR-INF/MANIFEST.json", "handler.py"]
    with pytest.raises(ModelArchiverError, match="already exists"):
        pack(home, "m")
