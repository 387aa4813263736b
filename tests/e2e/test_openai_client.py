"""OpenAI's own client, plain and async, on a server with tokens: statuses, error classes, streams, tools and forms."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..core.generation.tiny_model import TOOLS_TEMPLATE, save_tiny_model
from .live import LiveServer, make_model

openai = pytest.importorskip("openai")
pytest.importorskip("transformers")

HI = [{"role": "user", "content": "hi"}]
CLOCK = {
    "type": "function",
    "function": {
        "name": "clock",
        "parameters": {
            "type": "object", "properties": {"zone": {"enum": ["utc", "cet"]}}, "required": ["zone"],
            "additionalProperties": False,
        },
    },
}  # fmt: skip


def add_model(store: Path, name: str, options: str) -> None:
    config = f"minWorkers: 1\nmaxWorkers: 1\nasyncCommunication: true\nhandler:\n  model_path: {store.parent}/model\n"
    folder = make_model(store, name, "", config + options)
    (folder / "handler.py").unlink()
    manifest = folder / "MAR-INF" / "MANIFEST.json"
    manifest.write_text(manifest.read_text().replace("handler.py", "language_model"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The tiny model twice, once without room for any request; with tokens on."""
    home = tmp_path_factory.mktemp("openai")
    save_tiny_model(home / "model", TOOLS_TEMPLATE)
    add_model(home / "store", "tiny", "  memory_tokens: 2048\n")
    add_model(home / "store", "full", "  memory_tokens: 256\n  max_waiting: 0\n")
    server = LiveServer(home, ("tiny", "full"), properties="disable_token_authorization=false").wait()
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module")
def access(server: LiveServer) -> dict[str, Any]:
    key = json.loads((server.home / "key_file.json").read_bytes())["inference"]["key"]
    return {"base_url": f"http://127.0.0.1:{server.ports['Inference']}/v1", "api_key": key, "max_retries": 0}


@pytest.fixture
def client(access: dict[str, Any]) -> Iterator[Any]:
    with openai.OpenAI(**access) as found:
        yield found


def ask(client: Any, **more: Any) -> Any:
    asked = {"model": "tiny", "messages": HI, "temperature": 0, "max_tokens": 8, **more}
    return client.chat.completions.create(**asked)


def test_statuses_and_error_classes(client: Any, access: dict[str, Any]) -> None:
    raw = client.chat.completions.with_raw_response.create(model="tiny", messages=HI, max_tokens=2)
    assert (raw.status_code, raw.headers["content-type"]) == (200, "application/json")
    assert raw.parse().usage.completion_tokens <= 2
    with openai.OpenAI(**{**access, "api_key": "wrong"}) as stranger:
        with pytest.raises(openai.AuthenticationError) as refused:
            ask(stranger)
        assert refused.value.status_code == 401
        assert refused.value.type == "authentication_error"
        with pytest.raises(openai.AuthenticationError):
            ask(stranger, stream=True)
    with pytest.raises(openai.NotFoundError) as refused:
        ask(client, model="nobody")
    assert refused.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")
    with pytest.raises(openai.RateLimitError, match="max_waiting") as refused:
        ask(client, model="full")
    assert refused.value.response.headers["retry-after"] == "1"
    with pytest.raises(openai.BadRequestError, match="from 0 to 2") as refused:
        ask(client, temperature=-1)
    assert refused.value.param == "temperature"
    assert [each.id for each in client.models.list()] == ["full", "tiny"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"model": "tiny", "messages": [{"role": "user", "content": "\xff"}]}', 400),
        (b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}', 400),
        (b'{"model": "tiny", "messages": []}', 400),
        (b'{"model": "tiny", "messages": [{"role": "tool", "content": "x"}]}', 400),
        (b'{"model": "tiny", "prompt": [1, 99999]}', 400),
        (b'{"model": "tiny", "prompt": "x", "stop": ["x"' + b', "x"' * 9999 + b"]}", 400),
        (b"[" * 100_000, 400),
    ],
)
def test_bodies_that_are_wrong_in_the_wire(
    server: LiveServer, access: dict[str, Any], body: bytes, status: int
) -> None:
    path = "/v1/completions" if b"prompt" in body else "/v1/chat/completions"
    answer = server.call("Inference", "POST", path, body, Authorization=f"Bearer {access['api_key']}")
    assert answer.status == status, answer.body
    error = json.loads(answer.body)["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]


async def test_async_streams_side_by_side(access: dict[str, Any]) -> None:
    async def streamed(client: Any, seed: int | None) -> tuple[str, Any]:
        options = {"stream": True, "stream_options": {"include_usage": True}, "temperature": 1.5, "seed": seed}
        pieces = [piece async for piece in await ask(client, **options, max_tokens=20)]
        assert pieces[-1].choices == []
        return "".join(each.choices[0].delta.content or "" for each in pieces[:-1]), pieces[-1].usage

    async with openai.AsyncOpenAI(**access) as client:
        found = await asyncio.gather(*(streamed(client, seed) for seed in (1, 2, 1, None)))
        assert found[0] == found[2], "a seed draws the same"
        assert len({text for text, _ in found}) > 1
        assert all(usage.completion_tokens <= 20 < usage.total_tokens for _, usage in found)
        with pytest.raises(openai.NotFoundError):
            await ask(client, model="nobody", stream=True)


def test_probabilities_penalties_and_several_choices(client: Any) -> None:
    found = ask(client, logprobs=True, top_logprobs=3, n=2, frequency_penalty=0.5, logit_bias={"65": -100})
    assert [choice.index for choice in found.choices] == [0, 1]
    first = found.choices[0].logprobs.content
    assert len(first) * 2 == found.usage.completion_tokens
    assert all(len(each.top_logprobs) == 3 and each.logprob <= 0 for each in first)


def test_json_of_a_schema_and_calls_of_tools(client: Any) -> None:
    pytest.importorskip("llguidance")
    schema = {
        "type": "object",
        "properties": {"n": {"enum": [1, 22]}},
        "required": ["n"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    found = ask(client, response_format=form, max_tokens=80, temperature=1)
    assert json.loads(found.choices[0].message.content)["n"] in (1, 22)

    (choice,) = ask(client, tools=[CLOCK], tool_choice="required", parallel_tool_calls=False, max_tokens=180).choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert call.function.name == "clock"
    assert json.loads(call.function.arguments)["zone"] in ("utc", "cet")

    # The same as a stream, and the client goes on with the call's result.
    forced = {"type": "function", "function": {"name": "clock"}}
    pieces = list(
        ask(client, tools=[CLOCK], tool_choice=forced, parallel_tool_calls=False, max_tokens=180, stream=True)
    )
    (called,) = [one for each in pieces for one in each.choices[0].delta.tool_calls or []]
    assert json.loads(called.function.arguments)["zone"] in ("utc", "cet")
    with pytest.raises(openai.BadRequestError, match="no tools"):  # the template's own words on the role
        ask(
            client, messages=[*HI, choice.message.to_dict(), {"role": "tool", "tool_call_id": call.id, "content": "12"}]
        )
