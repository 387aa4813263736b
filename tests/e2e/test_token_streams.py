"""Handlers that stream a transformers model's tokens: the one of the documentation, and one with TorchServe's streamer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..core.generation.tiny_model import save_tiny_model
from .live import LiveServer, make_model

pytest.importorskip("transformers")

DOCS = Path(__file__).parents[2] / "docs" / "handlers.md"
BATCH = """
from threading import Thread
from transformers import AutoModelForCausalLM, AutoTokenizer
from ts.handler_utils.hf_batch_streamer import TextIteratorStreamerBatch
from ts.handler_utils.utils import send_intermediate_predict_response

class Batch:
    def initialize(self, context):
        folder = context.system_properties["model_dir"] + "/model"
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(folder)

    def handle(self, data, context):
        texts = [bytes(row["body"]).decode() for row in data]
        streamer = TextIteratorStreamerBatch(self.tokenizer, batch_size=len(texts), skip_prompt=True)
        asked = dict(self.tokenizer(texts, return_tensors="pt", padding=True), streamer=streamer, max_new_tokens=12)
        asked.update(do_sample=False, min_new_tokens=12)
        thread = Thread(target=self.model.generate, kwargs=asked)
        thread.start()
        for texts in streamer:
            send_intermediate_predict_response([each["text"] for each in texts], context.request_ids, "", 200, context)
        thread.join()
        return ["."] * len(data)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    home = tmp_path_factory.mktemp("streams")
    store = home / "store"
    (code,) = re.findall(r"```python\n(from threading.*?)```", DOCS.read_text(), re.DOTALL)
    of_openai = code.replace("context)\n", 'context, "openai")\n').replace(
        'bytes(data[0]["body"]).decode()', 'data[0]["body"]["prompt"]'
    )
    for name, source in (
        ("told", code),
        ("openai", of_openai),
        ("batch", BATCH),
    ):
        config = "maxBatchDelay: 60000\nbatchSize: 2\nbatchPolicy: fixed\n" if name == "batch" else ""
        save_tiny_model(make_model(store, name, source, config=config + "minWorkers: 1\nmaxWorkers: 1\n") / "model")
    server = LiveServer(home, ("told", "openai", "batch")).wait()
    yield server
    assert server.stop() == 0


def test_the_handler_of_the_documentation(server: LiveServer) -> None:
    answer = server.predict("told", b"once")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.status == 200
    assert answer.body


def test_the_same_in_openais_form(server: LiveServer) -> None:
    body = json.dumps({"model": "openai", "prompt": "once"}).encode()
    answer = server.call("Inference", "POST", "/v1/completions", body)
    *events, done, end = answer.body.split(b"\n\n")
    assert (done, end) == (b"data: [DONE]", b"")
    found = [json.loads(event[6:]) for event in events]
    assert {each["object"] for each in found} == {"text_completion"}
    assert "".join(each["choices"][0]["text"] for each in found)
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_torchserve_s_streamer_of_a_batch(server: LiveServer) -> None:
    """Two requests make the batch: neither is answered without the other."""
    first, second = server.later("batch", b"once"), server.later("batch", b"upon a time")
    answers = [first.result(), second.result()]
    assert [answer.status for answer in answers] == [200, 200]
    assert all(answer.body.endswith(b".") and len(answer.body) > 1 for answer in answers)
    assert answers[0].body != answers[1].body
