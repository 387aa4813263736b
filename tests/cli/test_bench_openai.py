"""`torchserve bench --openai`: what it asks, what it measures, and when it says that nothing can be believed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result

from torchserve.cli.bench import bench
from torchserve.cli.tokenload.event_reader import EventReader
from torchserve.cli.tokenload.token_stream import Answer, _Collector


class Model(ThreadingHTTPServer):
    """An OpenAI API that says `words` to each request, in a chunk each; `fault` is what goes wrong in every third one."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.words = ["a ", "b ", "c"]
        self.usage = True
        self.fault = ""
        self.asked: list[tuple[str, dict[str, Any], dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._plain(200, {"data": [{"id": "tiny"}]} if self.path == "/v1/models" else {})

    def _plain(self, status: int, found: Any) -> None:
        body = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        model = cast("Model", self.server)
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        model.asked.append((self.path, body, dict(self.headers)))
        fault = model.fault if len(model.asked) % 3 == 0 else ""
        if fault == "refused":
            self._plain(429, {"error": {"message": "full"}})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        chat = "chat" in self.path
        if chat:
            self._event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        for word in [] if fault == "empty" else model.words:
            self._event({"choices": [{"delta": {"content": word}} if chat else {"text": word}]})
        if fault == "error":
            self._event({"error": {"message": "it broke"}})
        if model.usage:
            usage = {"prompt_tokens": 7, "completion_tokens": 2 * len(model.words)}
            self._event({"choices": [], "usage": usage})
        if fault == "torn":
            self.close_connection = True
            return
        if fault != "endless":
            self._chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, event: Any) -> None:
        self._chunk(b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture
def model() -> Iterator[Model]:
    with Model() as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def run(model: Model, *more: str) -> Result:
    return CliRunner().invoke(bench, ["--openai", model.url, "--key", "k", *more])


def test_a_closed_loop(model: Model, tmp_path: Path) -> None:
    result = run(model, "-c", "3", "-r", "20", "--slo-ttft-ms", "60000", "--json", str(tmp_path / "r.json"))
    assert result.exit_code == 0, result.output
    assert "tiny: 20 answers" in result.output
    assert "100% in time" in result.output
    found = json.loads((tmp_path / "r.json").read_text())
    assert (found["answers"], found["completion_tokens"], found["prompt_tokens"], found["failures"]) == (
        20,
        120,
        140,
        {},
    )
    assert found["in_slo"] == 1
    assert len(model.asked) == 22, "two warm it up"
    path, body, headers = model.asked[-1]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer k"
    assert body["stream_options"] == {"include_usage": True}
    assert 1 <= body["max_tokens"] <= 2048


def test_an_open_loop_of_completions_without_usage(model: Model) -> None:
    model.usage = False
    result = run(model, "named", "--rate", "200", "-r", "12", "--completions", "--output-tokens", "9", "--warmup", "0")
    assert "named: 12 answers" in result.output
    assert "3 an answer" in result.output, "events are counted where the server doesn't count tokens"
    assert {(path, body["model"], body["max_tokens"]) for path, body, _ in model.asked} == {("/v1/completions", "named", 9)}  # fmt: skip


def test_an_answer_beyond_the_slo_is_no_good_one(model: Model) -> None:
    assert "0% in time" in run(model, "-r", "3", "--slo-ttft-ms", "0.000001").output


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("refused", "status 429"),
        ("error", "it broke"),
        ("torn", "closed before the answer's end"),
        ("endless", "no [DONE]"),
        ("empty", "no tokens"),
    ],
)
def test_answers_that_are_not_whole_are_told_and_do_not_count(model: Model, fault: str, words: str) -> None:
    model.fault = fault
    result = run(model, "-r", "7", "-c", "1", "--warmup", "2")
    assert result.exit_code == 1
    assert "**Not to be used:**" in result.output
    assert words in result.output
    assert "tiny: 4 answers" in result.output


def test_nothing_measured(model: Model) -> None:
    model.words = []
    result = run(model)
    assert result.exit_code == 2
    assert "the answer has no tokens" in result.output
    nowhere = CliRunner().invoke(bench, ["--openai", "127.0.0.1:9"])
    assert nowhere.exit_code == 2
    assert "no list of models" in nowhere.output


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--rate", "1", "-c", "2"], "give one of them"),
        (["--arrivals", "bursty"], "give its --rate"),
        (["--rate", "1", "--arrivals", "nowhere"], "a file of seconds"),
        (["--lengths", __file__], "--lengths"),
        (["--header", "x"], "NAME: VALUE"),
    ],
)
def test_options_that_contradict(model: Model, more: list[str], words: str) -> None:
    result = run(model, *more)
    assert result.exit_code == 2
    assert words in result.output
    assert CliRunner().invoke(bench, ["--openai", "ftp://x"]).exit_code == 2


def test_the_help_is_its_own(model: Model) -> None:
    assert "--slo-tpot-ms" in run(model, "--help").output
    assert "--openai URL --help" in CliRunner().invoke(bench, ["--help"]).output


def test_an_event_with_the_usage_and_a_reason_is_an_end() -> None:
    """`transformers serve` sends no [DONE]."""
    reader = EventReader()
    reader.status = 200
    for last, error in (
        (b'"finish_reason":"length"', ""),
        (b'"finish_reason":null', "the stream has no end: no [DONE]"),
    ):
        collector = _Collector(answer := Answer(0.0))
        collector.add([b'{"choices":[{"text":"a"}]}'], 1.0)
        collector.add([b'{"choices":[{"text":"",' + last + b'}],"usage":{"completion_tokens":1}}'], 2.0)
        collector.end(reader)
        assert answer.error == error
