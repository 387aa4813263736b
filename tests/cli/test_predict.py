"""`torchserve predict`: a handler by itself, in the foreground."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ECHO = """
import json, os, sys
from ts.utils.util import PredictionException
from ts.handler_utils.utils import send_intermediate_predict_response

def handle(data, context):
    if data is None:
        print("it loads")
        return None
    print("it runs")
    answers = []
    for index, row in enumerate(data):
        body = row["body"]
        if body == "raise":
            wrong = 41 + 1
            raise ValueError("no such row")
        if body == "refuse":
            raise PredictionException("meant so", 422)
        if body == "status":
            context.set_response_status(404, "gone", index)
        if body == "debug":
            secret = 6 * 7
            breakpoint()
        if body == "bytes":
            answers.append(bytes([0, 255]))
            continue
        if body == "exit":
            os._exit(3)
        if body == "crash":
            os.abort()
        if body == "stream":
            send_intermediate_predict_response(["part"] * len(data), {}, "", 200, context)
        context.set_response_header(index, "seen", "yes")
        answers.append({"body": repr(body), "of": len(data), "x": context.get_request_header(index, "X-Own"),
                        "explain": context.get_request_header(index, "explain")})
    return answers
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "echo"
    folder.mkdir()
    (folder / "handler.py").write_text(ECHO)
    (folder / "helper.py").write_text("x = 1\n")
    for name in ("raise", "refuse", "status", "debug", "bytes", "exit", "crash", "stream", "hello"):
        (tmp_path / f"{name}.txt").write_text(name)
    (tmp_path / "a.json").write_text('{"a": 1}')
    (tmp_path / "a.bin").write_bytes(b"\x00\x01")
    return folder


def predict(model: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torchserve.cli.main", "predict", *words]
    return subprocess.run(
        command,
        cwd=model.parent,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        errors="replace",
    )


def answers(done: subprocess.CompletedProcess[str]) -> list[dict]:
    decoder, text, found = json.JSONDecoder(), done.stdout.strip(), []
    while text:
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:].strip()
    return found


def pack(folder: Path, handler: str = "handler.py") -> Path:
    path = folder.parent / "packed.mar"
    manifest = {"runtime": "python", "model": {"modelName": "packed", "handler": handler, "requirementsFile": "r.txt"}}
    with zipfile.ZipFile(path, "w") as file:
        file.write(folder / "handler.py", "handler.py")
        file.writestr("r.txt", "numpy\n")
        file.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    return path


def test_all_files_are_one_batch_and_only_answers_go_to_standard_output(model: Path) -> None:
    done = predict(model, "echo", "hello.txt", "a.json", "a.bin", "--header", "X-Own=mine", "--explain")
    assert done.returncode == 0, done.stderr
    assert [(each["body"], each["of"], each["x"], each["explain"]) for each in answers(done)] == [
        ("'hello'", 3, "mine", "True"),
        ("{'a': 1}", 3, "mine", "True"),
        ("bytearray(b'\\x00\\x01')", 3, "mine", "True"),
    ]
    for line in ("it loads", "it runs", "hello.txt: 200", "seen: yes"):
        assert line in done.stderr


def test_archives_and_files(model: Path) -> None:
    done = predict(model, str(pack(model)), "hello.txt")
    assert answers(done)[0]["of"] == 1
    assert "r.txt is not installed" in done.stderr
    assert answers(predict(model, "echo/handler.py", "hello.txt", "--content-type", "application/x"))[0]["body"] == (
        "bytearray(b'hello')"
    )


@pytest.mark.parametrize(
    ("word", "code", "told"),
    [
        ("raise", 1, "ValueError: no such row"),
        ("refuse", 1, "422 meant so"),
        ("status", 1, "status.txt: 404"),
        ("exit", 3, "it runs"),
        ("crash", 1, "killed by SIGABRT"),
        ("stream", 0, "chunk for 0: b'part'"),
    ],
)
def test_how_it_ends(model: Path, word: str, code: int, told: str) -> None:
    done = predict(model, "echo", f"{word}.txt")
    assert told in done.stderr
    assert done.returncode == code


def test_bytes_and_an_output_folder(model: Path) -> None:
    done = predict(model, "echo", "bytes.txt", "hello.txt", "--output", ".")
    assert done.stdout == ""
    assert (model.parent / "bytes.txt.out").read_bytes() == b"\x00\xff"
    assert json.loads((model.parent / "hello.txt.out").read_bytes())["of"] == 2


def test_a_breakpoint_works(model: Path) -> None:
    done = predict(model, "echo", "debug.txt", stdin="print('secret', secret)\nc\n")
    assert "secret 42" in done.stderr
    assert (done.returncode, answers(done)[0]["body"]) == (0, "'debug'")


def test_pdb_opens_where_it_was_raised(model: Path) -> None:
    done = predict(model, "echo", "raise.txt", "--pdb", stdin="print('wrong', wrong)\nq\n")
    assert "wrong 42" in done.stderr
    assert done.returncode == 1
    (model / "handler.py").write_text("depth = 7\nraise RuntimeError('while it loads')\n")
    done = predict(model, "echo", "hello.txt", "--handler", "handler.py", "--pdb", stdin="print('depth', depth)\nq\n")
    assert "depth 7" in done.stderr


@pytest.mark.parametrize(
    ("files", "words", "told"),
    [
        ({"handler.py": "1/0\n"}, ["--handler", "handler.py"], "does not load: ZeroDivisionError"),
        ({"handler.py": None}, [], "which file is the handler? no .py file has a handle"),
        ({"handler.py": None, "a.py": ECHO, "b.py": ECHO}, [], "there are a.py, b.py; name one with --handler"),
        ({"model-config.yaml": "a: [\n"}, [], "model-config.yaml: not usable YAML"),
        ({}, ["--handler", "nothing.py"], "is neither a module in"),
    ],
)
def test_what_can_not_be_run(model: Path, files: dict[str, str | None], words: list[str], told: str) -> None:
    for name, text in files.items():
        (model / name).unlink(missing_ok=True)
        if text is not None:
            (model / name).write_text(text)
    done = predict(model, "echo", "hello.txt", *words)
    assert told in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["nowhere", "hello.txt"], 1, "nowhere: there is no such file"),
        (["a.json", "hello.txt"], 1, "a.json: "),
        (["echo", "nowhere.txt"], 2, "does not exist"),
        (["echo"], 2, "Missing argument"),
        (["echo", "hello.txt", "--header", "X"], 2, "NAME=VALUE"),
    ],
)
def test_wrong_words(model: Path, words: list[str], code: int, told: str) -> None:
    done = predict(model, *words)
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr
