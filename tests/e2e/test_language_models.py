"""A language model behind OpenAI's own client: whole and streamed answers, refusals, and clients that leave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..core.generation.tiny_encoder import SIZE, save_tiny_encoder
from ..core.generation.tiny_model import CONTEXT, save_tiny_model
from .live import LiveServer, eventually, make_model

openai = pytest.importorskip("openai")
pytest.importorskip("transformers")

HI = [{"role": "user", "content": "hi"}]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    """`torchserve llm` of a tiny model."""
    save_tiny_model(tmp_path / "model")
    start = ("llm", str(tmp_path / "model"), "--name", "tiny", "--memory-tokens", "2048")
    server = LiveServer(tmp_path, (), start=start, flags=("--ts-config", "config.properties"))
    try:
        server.wait()
        eventually(lambda: server.has_logged("tiny is served. Ask it:") or server.process.poll() is not None, 600)
        yield server
    finally:
        assert server.stop() == 0


@pytest.fixture
def client(server: LiveServer) -> Iterator[Any]:
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{server.ports['Inference']}/v1", api_key="none", max_retries=0
    ) as found:
        yield found


def test_openais_client(server: LiveServer, client: Any) -> None:
    server.until_logged(f"curl http://127.0.0.1:{server.ports['Inference']}/v1/chat/completions -d ")
    assert [model.id for model in client.models.list()] == ["tiny"]
    asked = {"model": "tiny", "messages": HI, "temperature": 0, "max_tokens": 12}
    whole = client.chat.completions.create(**asked)
    text = whole.choices[0].message.content
    assert whole.usage.completion_tokens <= 12
    assert whole.choices[0].finish_reason in {"stop", "length"}

    streamed = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(each.choices[0].delta.content or "" for each in streamed if each.choices) == text
    assert streamed[-1].usage == whole.usage
    assert len(streamed) > 3

    completed = client.completions.create(model="tiny", prompt="hi", temperature=0, max_tokens=5)
    assert completed.object == "text_completion"

    # The same by TorchServe's path.
    body = json.dumps(asked).encode()
    answer = server.predict("tiny/1.0/v1/chat/completions", body, content_type="application/json")
    assert answer.json["choices"][0]["message"]["content"] == text

    with pytest.raises(openai.NotFoundError, match="other"):
        client.chat.completions.create(**{**asked, "model": "other"})
    with pytest.raises(openai.BadRequestError, match=str(CONTEXT)) as refused:
        client.chat.completions.create(**{**asked, "max_tokens": CONTEXT})
    assert refused.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**asked, tools=[{"type": "function", "function": {"name": "f"}}])
    assert refused.value.param == "tools"

    # A client that leaves: its sequence ends long before its last token, and others are served.
    leaving = client.chat.completions.create(**{**asked, "max_tokens": CONTEXT - 20, "temperature": 1.0}, stream=True)
    next(iter(leaving))
    assert server.accepted("tiny") == (1, 0)
    leaving.close()
    eventually(lambda: server.accepted("tiny") == (0, 0))
    assert client.chat.completions.create(**asked).choices[0].message.content == text

    # Vectors, from an encoder beside it whose folder is in its archive.
    folder = make_model(server.store, "words", "", "handler:\n  model_path: model\n  threads: 1\nbatchSize: 4\n")
    (folder / "handler.py").unlink()
    manifest = folder / "MAR-INF" / "MANIFEST.json"
    manifest.write_text(manifest.read_text().replace("handler.py", "text_embedder"))
    save_tiny_encoder(folder / "model")
    assert server.manage("POST", "/models?url=words&initial_workers=1&synchronous=true").status == 200
    found = client.embeddings.create(model="words", input=["a b", "c"])
    assert [len(each.embedding) for each in found.data] == [SIZE, SIZE]
    assert found.usage.prompt_tokens == 7
    plain = client.embeddings.create(model="words", input="a b", encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(found.data[0].embedding, abs=1e-5)
    with pytest.raises(openai.BadRequestError, match="vectors have 16"):
        client.embeddings.create(model="words", input="a", dimensions=8)
