"""`torchserve dev`: an author's loop, with the real command."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .live import COMMAND, LiveServer, environment, eventually

HANDLER = "def handle(data, context):\n    return None if data is None else ['ANSWER' for _ in data]\n"


class Dev(LiveServer):
    """`torchserve dev` of a folder, at free ports."""

    def __init__(self, home: Path, *words: str) -> None:
        self.lines, self.ports, self._terminated = [], {}, False
        self.process = subprocess.Popen(
            [*COMMAND, "dev", "--port", "0", *words], env=environment(home), cwd=home, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._clients = ThreadPoolExecutor(4)

    def says(self, text: bytes) -> None:
        """The answer is soon this one, and until then an error of ours or an older answer."""
        eventually(lambda: text in self.predict("cats", "x").body)

    def batch_size(self) -> int | None:
        told = self.manage("GET", "/models/cats").json
        return told[0]["batchSize"] if isinstance(told, list) else None  # between one registration and the next


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "cats"
    made.mkdir()
    (made / "handler.py").write_text(HANDLER.replace("ANSWER", "first"))
    return made


@pytest.fixture
def dev(tmp_path: Path, folder: Path) -> Iterator[Dev]:
    made = Dev(tmp_path, "cats")
    try:
        made.wait()
        yield made
    finally:
        assert made.stop() == 0


def test_what_is_saved_is_served(dev: Dev, folder: Path) -> None:
    dev.says(b"first")
    before = dev.manage("GET", "/models/cats").json[0]["workers"][0]["id"]
    (folder / "handler.py").write_text(HANDLER.replace("ANSWER", "second"))
    dev.says(b"second")
    assert dev.manage("GET", "/models/cats").json[0]["workers"][0]["id"] != before
    (folder / "handler.py").write_text("def handle(data, context:\n")
    dev.says(b"never closed (handler.py, line 1)")
    (folder / "handler.py").write_text(HANDLER.replace("'ANSWER'", "data[0]['nothing']"))
    dev.says(b"KeyError: 'nothing'")
    (folder / "words.py").write_text("said = 'third'\n")
    (folder / "handler.py").write_text("from words import said\n" + HANDLER.replace("'ANSWER'", "said"))
    dev.says(b"third")
    (folder / "words.py").write_text("said = 'fourth'\n")
    dev.says(b"fourth")
    assert sorted(path.name for path in folder.iterdir() if path.name != "__pycache__") == ["handler.py", "words.py"]


def test_the_yaml_counts(dev: Dev, folder: Path) -> None:
    dev.says(b"first")
    (folder / "model-config.yaml").write_text("batchSize: 5\nmaxWorkers: 2\n")
    eventually(lambda: dev.batch_size() == 5)
    dev.says(b"first")
    (folder / "model-config.yaml").write_text("batchSize: [5\n")
    dev.until_logged("model-config.yaml: not usable YAML")
    dev.says(b"first")
    (folder / "model-config.yaml").write_text("batchSize: 6\n")
    eventually(lambda: dev.batch_size() == 6)


def test_beside_a_server(dev: Dev, tmp_path: Path) -> None:
    dev.says(b"first")
    second = Dev(tmp_path, "cats/handler.py")
    try:
        second.wait().says(b"first")
    finally:
        assert second.stop() == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "nowhere: there is no such file or folder"),
        (["empty"], "which file is the handler? no .py file has a handle(data, context)"),
        (["cats", "--ts-config", "nowhere.properties"], "--ts-config file not found"),
    ],
)
def test_what_can_not_be_served(tmp_path: Path, folder: Path, words: list[str], told: str) -> None:
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [*COMMAND, "dev", *words], env=environment(tmp_path), cwd=tmp_path, text=True, capture_output=True, timeout=120
    )
    assert (done.returncode, told in done.stderr) == (1, True), done.stderr
