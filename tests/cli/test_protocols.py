"""`torchserve bench --protocol` and `torchserve predict --url` against a real server, each protocol for itself."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from torchserve.cli.main import main
from torchserve.core.oip.datatypes import pack

from ..e2e.conftest import Serve, serve, store
from ..e2e.handlers import STREAMS
from ..e2e.live import LiveServer, make_model
from .answering import answering

__all__ = ["serve", "store"]
pytestmark = pytest.mark.usefixtures("temp")
QUICK = ["--seconds", "0.5", "--warmup", "0", "--late-ms", "20000"]
ECHO = """
def handle(data, context):
    return None if data is None else [row.get("data") or row.get("body") for row in data]
"""
DOUBLES = """
def handle(data, context):
    return None if data is None else [{"y": row["x"] * 2} for row in data]
"""
# Right for the calls that ask for the correct answer; then the text says what is wrong with every third.
FALTERS = """
from ts.utils.util import PredictionException

class Falters:
    def initialize(self, context):
        self.count = 0

    def handle(self, data, context):
        return [self.one(bytes(row.get("data") or row.get("body"))) for row in data]

    def one(self, text):
        self.count += 1
        if self.count % 3 == 0:
            if text == b"wrong":
                return "something else"
            if text == b"refuse":
                raise PredictionException("not this time", 404)
            if text == b"full":
                raise PredictionException("busy", 429)
        return text
"""
DOCUMENT = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3.5]}]}
DOUBLED = [{"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [2, 4, 7]}]


@pytest.fixture
def server(serve: Serve, store: Path) -> LiveServer:
    for name, handler in (("echo", ECHO), ("doubles", DOUBLES), ("falters", FALTERS), ("streams", STREAMS)):
        make_model(store, name, handler, config="minWorkers: 1\nmaxWorkers: 1\nbatchSize: 1\n")
    made = serve("echo", "doubles", "falters", "streams")
    for name in ("echo", "doubles", "falters", "streams"):
        made.ready(name)
    return made


def urls(server: LiveServer) -> dict[str, str]:
    return {
        "rest": f"http://127.0.0.1:{server.ports['Inference']}",
        "grpc": f"grpc://127.0.0.1:{server.ports['gRPC inference']}",
    }


def bench(server: LiveServer, *words: str) -> Result:
    rpc = "grpc" in " ".join(words)
    return CliRunner().invoke(main, ["bench", *words, *QUICK, "--inference", urls(server)["grpc" if rpc else "rest"]])


def test_the_load_by_each_protocol(server: LiveServer, tmp_path: Path) -> None:
    document, raw, out = tmp_path / "d.json", tmp_path / "x.raw", tmp_path / "out.json"
    document.write_text(json.dumps(DOCUMENT))
    raw.write_bytes(pack("x", "FP32", (1, 3), [1, 2, 3.5]))
    form = ["--tensor", "x:FP32:1x3"]
    loads = [["-c", "4", "-r", "40"], ["--rate", "200", "-r", "40"]]
    for load in loads:
        for words in (
            ["echo", "--data", "x", "--protocol", "grpc", "--check", "echo", "--channels", "2"],
            ["streams", "--data", "x", "--protocol", "grpc-stream"],
            *(["doubles", "--protocol", each, "-i", str(document)] for each in ("oip-rest", "oip-rest-binary", "oip-grpc")),
            *(["doubles", "--protocol", each, "-i", str(raw), *form] for each in ("oip-rest", "oip-rest-binary", "oip-grpc")),
        ):  # fmt: skip
            done = bench(server, *words, *load, "--json", str(out))
            assert done.exit_code == 0, (words, done.output)
            told = json.loads(out.read_text())
            assert told["requests"] == {"offered": 40, "right": 40}
            assert told["statuses"] == {"0" if "grpc" in told["protocol"] else "200": 40}
            assert (told["first_chunk_ms"] is not None) == (words[0] == "streams")
            assert "only" not in told["checked"], "the answers themselves are checked"
    assert f"| protocol | {told['protocol']} |" in done.stdout
    assert "on 1 channel |" in done.stdout

    # Two calls come before the load: the third, and every third of it, is the one that falters.
    for text, code, said in (
        ("wrong", 1, "wrong answer: --data: b'something else'"),
        ("refuse", 1, "bad status: 5 NOT_FOUND: not this time"),
        ("full", 0, "20 refused"),
    ):
        done = bench(server, "falters", "--data", text, "--protocol", "grpc", "--check", "same", "-c", "1", "-r", "59")
        assert (done.exit_code, said in done.stdout) == (code, True), done.output

    for given, said in (
        ("nope --data x --protocol grpc", "answers --data with 5 NOT_FOUND: Model not found: nope"),
        ("doubles --data x --protocol oip-grpc", "Malformed JSON"),
        ("doubles --data x --protocol oip-grpc --tensor x:FP32:1x3", "takes 12 bytes, and 1 were sent"),
        ("doubles --data x --protocol oip-rest --tensor y:UINT8:1", "answers --data with 503: Prediction failed"),
    ):
        done = bench(server, *given.split())
        assert (done.exit_code, said in done.output) == (2, True), done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("m --data x --channels 2", "--channels is for grpc"),
        ("m --data x --tensor x:FP32:1", "--tensor is for the Open Inference Protocol"),
        ("m --data x --tensor x", "is not NAME:DATATYPE:SHAPE"),
        ("m --data x --protocol grpc --path y", "--path is for --protocol rest"),
        ("m --data x --protocol oip-grpc --check echo", "take same"),
        ("m --data x --protocol grpc --content-type y", "--content-type is for --protocol rest"),
        ("m --data x --protocol grpc --inference grpc://127.0.0.1:1", "No gRPC server answers at http://127.0.0.1:1 "),
        ("m --data x --protocol grpc --inference ftp://x", "Invalid address: ftp://x (grpc://host:port"),
    ],
)
def test_what_bench_says_where_it_measures_nothing(words: str, said: str) -> None:
    done = CliRunner().invoke(main, ["bench", *words.split()])
    assert (done.exit_code, said in done.output) == (2, True), done.output


def test_predictions_of_a_server(server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("hello")
    Path("b.bin").write_bytes(b"\0\xff")
    Path("d.json").write_text(json.dumps(DOCUMENT))
    for url in urls(server).values():
        done = predict(url, "echo", "a.txt", "a.txt")
        assert (done.exit_code, done.stdout, done.stderr) == (0, "hello\nhello\n", "")
        done = predict(url, "streams", "a.txt")
        assert (done.exit_code, done.stdout) == (0, "0 1 2 end\n")
        done = predict(url, "doubles", "d.json", "--protocol", "oip")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["outputs"] == DOUBLED
        done = predict(url, "echo", "b.bin", "--output", ".", "--version", "1.0")
        assert (done.exit_code, Path("b.bin.out").read_bytes()) == (0, b"\0\xff")

        done = predict(url, "nope", "a.txt", "b.bin")
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.count("Model not found: nope\n") == 2, "the other files are sent all the same"
        assert "org.pytorch" not in done.stderr
        done = predict(url, "echo", "a.txt", "--version", "7")
        assert (done.exit_code, "version: 7" in done.stderr) == (1, True), done.output
        done = predict(url, "doubles", "a.txt", "--protocol", "oip")
        assert (done.exit_code, "a.txt: " in done.stderr) == (1, True), done.output


def predict(url: str, *words: str) -> Result:
    return CliRunner().invoke(main, ["predict", "--url", url, *words])


@contextmanager
def a_server_that_says(answer: bytes) -> Iterator[int]:
    """A port at which the first connection is answered with these bytes, whatever it asks."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answers() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=answers)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


@pytest.mark.parametrize(
    ("scheme", "answer", "said"),
    [
        ("grpc", b"HTTP/1.1 400 Bad Request\r\n\r\n", "is no frame of HTTP/2 (is this its gRPC port? 7070"),
        ("grpc", b"", "the server has closed the connection"),
        ("http", b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x01", "speaks no HTTP/1.1 (gRPC is asked with grpc://)"),
    ],
)
def test_a_server_of_another_kind(scheme: str, answer: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with a_server_that_says(answer) as port:
        done = predict(f"{scheme}://127.0.0.1:{port}", "m", str(tmp_path / "a.txt"))
    assert (done.exit_code, said in done.stderr) == (1, True), done.output


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--url grpc://127.0.0.1:1 m FILE", 1, "No gRPC server answers at grpc://127.0.0.1:1: start one"),
        ("--url http://127.0.0.1:1 m FILE", 1, "No server answers at http://127.0.0.1:1: start one"),
        ("--url ftp://x m FILE", 2, "--url: ftp://x is none of http://HOST:PORT"),
        ("--url grpc://x m FILE --explain", 2, "--explain is of the REST API"),
        ("--url grpc://x m FILE --pdb", 2, "--pdb runs a handler here, and --url asks a server"),
        ("--url grpc://x m FILE --gpu 0", 2, "--gpu runs a handler here"),
        ("m FILE --protocol oip", 2, "--protocol is about a server: give its --url"),
        ("m FILE --version 1", 2, "--version is about a server"),
    ],
)
def test_what_predict_says_where_it_asks_nobody(words: str, code: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    done = CliRunner().invoke(main, ["predict", *words.replace("FILE", str(tmp_path / "a.txt")).split()])
    assert (done.exit_code, said in done.stderr) == (code, True), done.output


def test_the_key_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("hello")
    monkeypatch.setenv("TS_INFERENCE_TOKEN", "k")
    with answering({"POST /predictions/m": (200, "yes")}) as server:
        assert predict(server.url, "m", str(tmp_path / "a.txt")).stdout == "yes\n"
        predict(server.url, "m", str(tmp_path / "a.txt"), "--header", "authorization=Bearer own")
    assert [key for _, key in server.asked] == ["Bearer k", "Bearer own"]
