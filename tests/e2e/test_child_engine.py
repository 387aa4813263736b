"""A language model whose engine is a process of its own, behind OpenAI's client: answers, ends, hangs, and what is left."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from .engines import SmallModel, guards
from .live import LiveServer, eventually, gone

openai = pytest.importorskip("openai")

HI = [{"role": "user", "content": "the cat"}]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., tuple[SmallModel, LiveServer]]]:
    """A function that serves the small engine with these arguments, as the model `small`."""
    with contextmanager(_serve)(tmp_path) as start:
        yield start


def _serve(tmp_path: Path) -> Iterator[Callable[..., tuple[SmallModel, LiveServer]]]:
    started: list[tuple[SmallModel, LiveServer]] = []

    def start(*arguments: str, wait: bool = True, **options: Any) -> tuple[SmallModel, LiveServer]:
        model = SmallModel(tmp_path / "store", "small", *arguments, **options)
        server = LiveServer(tmp_path, ("small=small",))
        started.append((model, server))
        server.wait()
        if wait:
            server.ready("small")
        return model, server

    yield start
    for model, server in started:
        killed = server.process.poll() == -signal.SIGKILL
        assert server.stop() == (-signal.SIGKILL if killed else 0)
        model.all_gone()
        assert not list(server.temp.glob("ts-engine-*"))


@contextmanager
def client_of(server: LiveServer) -> Iterator[Any]:
    address = f"http://127.0.0.1:{server.ports['Inference']}/v1"
    with openai.OpenAI(base_url=address, api_key="none", max_retries=0) as client:
        yield client


def worker_of(server: LiveServer) -> int:
    return int(server.workers("small", "READY")[0]["pid"])


def replaced(server: LiveServer, first: int) -> None:
    """Wait until another worker than the first one serves."""
    eventually(lambda: any(int(worker["pid"]) != first for worker in server.workers("small", "READY")))


def text_of(chunks: Any) -> str:
    return "".join(each.choices[0].delta.content or "" for each in chunks)


def test_openais_client_sees_the_engines_answers(serve: Any) -> None:
    model, server = serve(
        vllm_engine_config={"max_num_seqs": 4, "served_model_name": ["meta/small"]},
        adapters={"polite": "/weights/polite"},
    )
    with client_of(server) as client:
        whole = client.chat.completions.create(model="small", messages=HI, max_tokens=5)
        assert (whole.model, whole.usage.completion_tokens, whole.choices[0].finish_reason) == ("small", 5, "length")
        chunks = list(client.chat.completions.create(model="small", messages=HI, max_tokens=5, stream=True))
        assert text_of(chunks) == whole.choices[0].message.content
        assert len(chunks) == 6
        completed = client.completions.create(model="small", prompt="the cat", max_tokens=5)
        assert completed.choices[0].text == whole.choices[0].message.content

        # Adapters and other served names: found by the front, listed, and passed on.
        listed = {each.id: getattr(each, "parent", None) for each in client.models.list()}
        assert listed == {"small": None, "meta/small": "small", "polite": "small"}
        assert client.models.retrieve("polite").id == "polite"
        assert client.completions.create(model="polite", prompt="the", max_tokens=1).model == "polite"
        with pytest.raises(openai.NotFoundError, match="rude"):
            client.completions.create(model="rude", prompt="the")
        # The engine's own refusal, status and all.
        asked = server.predict(
            "small/1.0/v1/completions", b'{"model": "other", "prompt": "a"}', content_type="application/json"
        )
        assert (asked.status, asked.json["error"]["type"]) == (404, "NotFoundError")

    words = model.noted("started")[0]["arguments"]
    assert words[words.index("--served-model-name") + 1 :][:2] == ["small", "meta/small"]
    assert "polite=/weights/polite" in words
    assert words[words.index("--max-num-seqs=4")]
    headers = model.noted("began")[0]["headers"]
    assert headers["X-Request-ID"] == model.noted("began")[0]["began"]
    assert "Authorization" not in headers  # the server's key is none of the engine's business
    assert any("small_1.0-stderr" in line and "small engine serves" in line for line in server.lines)

    # TorchServe's paths.
    body = json.dumps({"prompt": "the cat", "max_tokens": 5}).encode()
    for path in ("small/1.0/v1/completions", "small"):
        assert (
            server.predict(path, body, content_type="application/json").json["choices"][0]["text"]
            == completed.choices[0].text
        )
    assert server.call("Inference", "GET", "/predictions/small/1.0/v1/models").json["data"][0]["id"] == "small"
    assert server.predict("small/1.0/v1/load_lora_adapter", body, content_type="application/json").status == 404
    assert server.predict("small", b"no json", content_type="text/plain").status == 400


def test_the_engines_metrics_are_shown_until_it_ends(serve: Any) -> None:
    _, server = serve()
    worker = server.workers("small")[0]["id"]

    def shown() -> str:
        return server.call("Metrics", "GET", "/metrics?name[]=small:*").body.decode()

    line = f'small:generation_tokens_total{{model_name="small",torchserve_worker="W-{worker}-small_1.0"}} '
    eventually(lambda: line + "0.0\n" in shown())
    with client_of(server) as client:
        client.chat.completions.create(model="small", messages=HI, max_tokens=5)
    eventually(lambda: line + "5.0\n" in shown())
    assert "no metric" not in shown()
    assert "small:" not in server.call("Metrics", "GET", "/metrics?name[]=ts_*").body.decode()
    assert server.manage("DELETE", "/models/small").status == 200
    eventually(lambda: shown() == "")


def test_a_client_that_leaves_is_gone_from_the_next_step(serve: Any) -> None:
    model, server = serve("--steps", "manual")
    with client_of(server) as client:
        answers: list[Any] = []
        staying = threading.Thread(
            target=lambda: answers.append(client.completions.create(model="small", prompt="a", max_tokens=3))
        )
        staying.start()
        stays = model.noted("began")[0]["began"]
        streams: list[Any] = []
        opening = threading.Thread(
            target=lambda: streams.append(
                client.completions.create(model="small", prompt="b", max_tokens=1000, stream=True)
            )
        )
        opening.start()
        leaves = model.noted("began", 2)[1]["began"]
        assert model.step()["running"] == sorted([stays, leaves])
        opening.join()
        stream = streams[0]
        next(iter(stream))
        stream.close()
        assert model.noted("aborted")[0] == {"pid": model.noted("started")[0]["pid"], "aborted": leaves, "step": 1}
        assert model.step()["running"] == [stays]
        assert model.step()["running"] == []
        staying.join()
        assert answers[0].usage.completion_tokens == 3
    assert server.accepted("small") == (0, 0)


@pytest.mark.parametrize("victim", ["engine", "guard"])
def test_an_engine_that_dies_ends_its_streams_with_an_error_and_is_started_anew(serve: Any, victim: str) -> None:
    model, server = serve("--children", "1")
    first = worker_of(server)
    with client_of(server) as client:
        prompt = "die 3" if victim == "engine" else "a"
        chunks = iter(client.completions.create(model="small", prompt=prompt, max_tokens=10**9, stream=True))
        words = [next(chunks).choices[0].text for _ in range(3)]
        if victim == "guard":
            os.kill(guards(model.folder)[0], signal.SIGKILL)
        with pytest.raises(openai.APIError, match="the engine vllm was killed by SIGKILL") as error:
            words += [chunk.choices[0].text for chunk in chunks]
        assert error.value.body["type"] == "server_error"
        assert len(words) == 3 or victim == "guard"
        old = model.processes()
        replaced(server, first)
        eventually(lambda: all(map(gone, old)))
        assert client.completions.create(model="small", prompt="a", max_tokens=2).usage.completion_tokens == 2
    server.until_logged("the engine vllm was killed by SIGKILL: the worker ends, too")


def test_what_waits_behind_an_engine_that_dies_is_answered_by_the_next(serve: Any) -> None:
    _, server = serve()
    with client_of(server) as client:
        with pytest.raises(openai.InternalServerError, match="small: the engine vllm was killed by SIGKILL"):
            client.completions.create(model="small", prompt="die 0")
        # The worker may still be there, or its successor load: a request that comes now isn't lost.
        eventually(lambda: not server.workers("small", "READY"))
        assert client.completions.create(model="small", prompt="a", max_tokens=2).usage.completion_tokens == 2


def test_an_engine_that_hangs_in_service_is_killed(serve: Any) -> None:
    model, server = serve("--ignore-sigterm", "--children", "2", health_interval=0.1, health_timeout=1)
    first = worker_of(server)
    with client_of(server) as client:
        with pytest.raises(
            openai.APIError, match=r"the engine vllm hangs: it sent nothing for 1 s, not even to GET /health"
        ):
            list(client.completions.create(model="small", prompt="hang 2", max_tokens=100, stream=True))
        old = model.processes()
        eventually(lambda: all(map(gone, old)))
        replaced(server, first)
        assert client.completions.create(model="small", prompt="a", max_tokens=2).usage.completion_tokens == 2


def test_an_engine_that_says_it_is_ill_is_replaced(serve: Any) -> None:
    _, server = serve(health_interval=0.1)
    first = worker_of(server)
    with client_of(server) as client:
        client.completions.create(model="small", prompt="ill", max_tokens=1)
        server.until_logged("the engine vllm answered 503 to GET /health: the worker ends, too")
        replaced(server, first)
        assert client.completions.create(model="small", prompt="a", max_tokens=2).usage.completion_tokens == 2


def test_an_engine_that_hangs_at_its_start_is_killed_at_the_limit(serve: Any) -> None:
    model, server = serve("--start", "hang", "--ignore-sigterm", wait=False, config={"startupTimeout": 8})
    server.until_logged("loading for ever")
    server.until_logged("did not load the model in 8 s (startupTimeout)")
    assert server.manage("DELETE", "/models/small").status == 200
    eventually(lambda: not guards(model.folder))


def test_an_engine_that_ends_at_its_start_is_a_load_error_with_its_last_words(serve: Any) -> None:
    _, server = serve("--start", "exit", wait=False)
    server.until_logged(
        "the engine vllm exited with code 3 while it started; it said: no memory is left for the weights"
    )


NO_ANSWERS = {
    "garbage": "sent something that is no HTTP/1",
    "disorder": "sent a chunk that is longer than it said",
    "head": "sent a head of more than 65536 bytes",
    "line": "sent an event of more than 4194304 bytes",
}


def test_what_is_no_answer_fails_one_request_and_a_full_log_none(serve: Any) -> None:
    _, server = serve()
    first = worker_of(server)
    with client_of(server) as client:
        for prompt, told in NO_ANSWERS.items():
            with pytest.raises(openai.APIError, match=told):
                list(client.completions.create(model="small", prompt=prompt, stream=True))
            assert client.completions.create(model="small", prompt="a", max_tokens=2).usage.completion_tokens == 2
        for number in (100000, 1):
            client.completions.create(model="small", prompt=f"flood {number}", max_tokens=1)
    server.until_logged("lines of the engine were left out: it prints too many")
    assert sum(" line " in line for line in server.lines) < 100000
    assert worker_of(server) == first


def test_an_engine_that_never_answers_is_ended_by_response_timeout(serve: Any) -> None:
    model, server = serve("--steps", "manual", config={"responseTimeout": 1}, metrics_interval=0)
    with client_of(server) as client, pytest.raises(openai.InternalServerError, match="responseTimeout"):
        client.completions.create(model="small", prompt="a")
    eventually(lambda: gone(model.processes()[0]))


@pytest.mark.parametrize("victim", ["worker", "front"])
def test_nothing_of_an_engine_outlives_a_worker_or_a_front_that_is_killed(serve: Any, victim: str) -> None:
    model, server = serve("--ignore-sigterm", "--children", "2")
    with client_of(server) as client:
        client.completions.create(model="small", prompt="child", max_tokens=1)
    old = [*model.processes(), *guards(model.folder)]
    assert len(old) == 5
    assert not any(map(gone, old))
    if victim == "front":
        worker = psutil.Process(worker_of(server))
        server.process.kill()
        server.process.wait()
        eventually(lambda: gone(worker.pid))
    else:
        os.kill(worker_of(server), signal.SIGKILL)
    eventually(lambda: all(map(gone, old)))


def test_a_stop_leaves_nothing_behind(serve: Any) -> None:
    model, server = serve("--ignore-sigterm", "--children", "2")
    assert server.stop() == 0
    model.all_gone()


def test_an_engine_that_is_not_installed_is_a_load_error_that_says_what_to_do(tmp_path: Path) -> None:
    model = SmallModel(tmp_path / "store", "small", command=None)
    config = model.folder / "model-config.yaml"
    config.write_text(config.read_text().replace("command: null", ""))
    server = LiveServer(tmp_path, ("small=small",))
    try:
        server.wait()
        server.until_logged("the engine vllm is not installed: ")
        assert server.has_logged("`pip install vllm` installs it")
    finally:
        assert server.stop() == 0
