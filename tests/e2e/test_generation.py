"""Requests for text on a real server: who is next, what is refused and ended, who leaves, and what is counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from torchserve.cli.main import main

from .generating import CONTEXT, Model, error_of, events, tokens
from .live import LiveServer, eventually

Models = dict[str, Model]


@pytest.fixture(scope="module")
def models(home: Path) -> Iterator[Models]:
    """A server with a model without limits, one that limits the first token, and one that limits the others."""
    store = home / "store"
    found = {
        name: Model(store, home, name, config)
        for name, config in (("free", ""), ("first", "timeToFirstTokenMs: 300\n"), ("each", "timePerTokenMs: 300\n"))
    }
    server = LiveServer(home, tuple(found))
    try:
        for model in found.values():
            model.server = server
        server.wait()
        for name in found:
            server.ready(name)
        yield found
    finally:
        assert server.stop() == 0


def test_a_quiet_client_is_served_before_anothers_backlog(models: Models) -> None:
    """Shown by the order of service: the first fills the memory, and all others wait in the server. The quiet client
    takes its turn behind one request of the other.
    """
    model = models["free"]
    before = len(model.submitted())
    model.hold()
    sent = [model.send(tokens("first", 700), max_tokens=250, client="noisy")]
    model.waits(1, 0)
    for number in range(6):
        sent.append(model.send(tokens(f"noisy{number}", 300), max_tokens=200, client="noisy"))
        model.waits(1, number + 1)
    sent.append(model.send(tokens("quiet", 100), max_tokens=20, client="quiet"))
    model.waits(1, 7)
    model.go()
    for connection in sent:
        assert connection.getresponse().status == 200
        connection.close()
    assert model.submitted()[before:] == ["first", "noisy0", "quiet", *(f"noisy{number}" for number in range(1, 6))]


def test_priorities_hold_among_a_clients_requests(models: Models) -> None:
    model = models["free"]
    before = len(model.submitted())
    model.hold()
    sent = [model.send(tokens("first", 700), max_tokens=250)]
    model.waits(1, 0)
    for number, priority in enumerate(("9", "0", "-9")):
        headers = {"x-request-priority": priority}
        sent.append(model.send(tokens(f"level{number}", 700), max_tokens=100, headers=headers))
        model.waits(1, number + 1)
    model.go()
    for connection in sent:
        assert connection.getresponse().status == 200
        connection.close()
    assert model.submitted()[before:] == ["first", "level2", "level1", "level0"]


def test_what_can_never_be_is_refused_while_the_memory_is_full(models: Models) -> None:
    model = models["free"]
    model.hold()
    first = model.send(tokens("first", 700), max_tokens=250)
    model.waits(1, 0)
    for body, numbers, code in (
        ({"prompt": "hi", "max_tokens": CONTEXT}, ("1000", "1001"), "context_length_exceeded"),
        ({"prompt": [1] * 990, "max_tokens": 11}, ("1000", "1001"), "context_length_exceeded"),
        ({"prompt": "hi", "n": 1000}, ("16",), None),
        ({"prompt": ["hi"] * 17}, ("17", "16"), None),
        ({"prompt": "hi", "max_tokens": "many"}, (), None),
    ):
        status, error = error_of(model.send(**body))  # type: ignore[arg-type]
        assert (status, error["code"]) == (400, code)
        assert all(number in error["message"] for number in numbers)
    model.go()
    assert first.getresponse().status == 200
    first.close()
    # By its bytes the prompt might fit: only its tokens tell.
    status, error = error_of(model.send("x" * CONTEXT, max_tokens=1))
    assert (status, error["code"]) == (400, "context_length_exceeded")
    assert str(CONTEXT) in error["message"]


@pytest.mark.parametrize("left", [0, 1, 40])
def test_a_client_that_leaves_has_no_further_step(models: Models, left: int) -> None:
    """Before the first token, after it, and later; the engine is held meanwhile, so that each step can be counted."""
    model = models["free"]
    if not left:
        model.hold()
    before = len(model.submitted())
    leaving = model.send("leaves", max_tokens=900, stream=True)
    eventually(lambda: len(model.submitted()) > before)
    request = model.diary("submit")[-1][2]
    if left:
        response = leaving.getresponse()
        for _ in zip(range(left), events(response), strict=False):
            pass
        model.hold()
        response.close()
    leaving.close()
    eventually(lambda: request in [words[2] for words in model.diary("cancel")])
    model.waits(0, 0)
    ended = next(int(words[0]) for words in model.diary("cancel") if words[2] == request)
    model.go()
    after = model.send("after", max_tokens=5)
    assert after.getresponse().status == 200
    after.close()
    steps = [int(words[0]) for words in model.diary("token") if words[2] == request]
    assert max(steps, default=0) <= ended
    assert len(steps) < 900


def test_a_first_token_that_does_not_come_in_time(models: Models) -> None:
    model = models["first"]
    model.hold()
    asked = [model.send("late", max_tokens=5, stream=stream) for stream in (True, False)]
    for connection in asked:
        status, error = error_of(connection)
        assert (status, error["type"]) == (504, "server_error")
        assert "timeToFirstTokenMs=300" in error["message"]
    eventually(lambda: len(model.diary("cancel")) == len(model.diary("submit")))
    model.go()


def test_a_stream_that_stalls_ends_with_an_error(models: Models) -> None:
    model = models["each"]
    connection = model.send("stalls", max_tokens=900, stream=True)
    response = connection.getresponse()
    assert response.status == 200
    told = events(response)
    assert next(told)["choices"][0]["text"].startswith("x")
    model.hold()
    *_, last = told
    assert "timePerTokenMs=300" in last["error"]["message"]
    connection.close()
    eventually(lambda: len(model.diary("cancel")) == 1)
    model.go()


def test_a_deadline_ends_what_generates(models: Models) -> None:
    model = models["free"]
    model.hold()
    status, error = error_of(model.send("late", headers={"x-request-timeout-ms": "300"}))
    assert status == 504
    assert "x-request-timeout-ms=300" in error["message"]
    model.waits(0, 0)
    model.go()


def test_what_is_counted_and_shown(models: Models) -> None:
    model = models["free"]
    server = model.server
    assert server is not None
    connection = model.send("x" * 10, max_tokens=40)
    assert json.loads(connection.getresponse().read())["usage"]["completion_tokens"] == 40
    connection.close()
    text = server.call("Metrics", "GET", "/metrics?name[]=vllm:*").body.decode()
    own = 'model_name="free",model_version="1.0",'
    values = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}
    assert values[f"vllm:generation_tokens_total{{{own}}}"] == len(model.diary("token"))
    assert values[f"vllm:prompt_tokens_total{{{own}}}"] >= 10
    assert values[f'vllm:request_success_total{{{own}finished_reason="length",}}'] >= 1
    assert values[f"vllm:num_requests_running{{{own}}}"] == values[f"vllm:num_requests_waiting{{{own}}}"] == 0
    assert values[f"vllm:time_to_first_token_seconds_count{{{own}}}"] >= 1
    assert values[f"vllm:inter_token_latency_seconds_count{{{own}}}"] >= 39
    assert values[f"vllm:e2e_request_latency_seconds_count{{{own}}}"] >= 1
    engine = server.workers("free")[0]["engine"]
    assert engine["contextLength"] == engine["memoryTokens"] == CONTEXT
    assert engine["generationTokens"] == len(model.diary("token"))
    addresses = ["--management", f"http://127.0.0.1:{server.ports['Management']}"]
    addresses += ["--metrics", f"http://127.0.0.1:{server.ports['Metrics']}", "--interval", "0.1"]
    done = CliRunner().invoke(main, ["top", *addresses])
    assert done.exit_code == 0, done.output
    assert "language models" in done.stdout
    assert "KV %" in done.stdout
    shown = json.loads(CliRunner().invoke(main, ["top", "--json", *addresses]).stdout)["language_models"]
    assert {each["model"] for each in shown} == set(models)


def test_streams_end_whole_when_the_server_stops(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    model = Model(tmp_path / "store", tmp_path, "m")
    model.server = server = LiveServer(tmp_path, ("m",))
    server.wait()
    server.ready("m")
    streaming = model.send("streams", max_tokens=200, stream=True)
    told = events(streaming.getresponse())
    texts = [next(told)["choices"][0]["text"]]
    model.hold()
    server.terminate()
    eventually(lambda: server.has_logged("no new request") or not accepts(server))
    model.go()
    texts += [each["choices"][0]["text"] for each in told if isinstance(each, dict)]
    streaming.close()
    assert "".join(texts) == "x" * 200
    assert server.stop() == 0


def accepts(server: LiveServer) -> bool:
    try:
        return server.call("Inference", "GET", "/ping").status == 200
    except OSError:
        return False
