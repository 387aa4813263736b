"""The handler of text encoders, with a tiny one: its vectors, its batches, and what it refuses."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from torchserve.core.generation.openai_embeddings import MOST_INPUTS, read_embeddings
from torchserve.core.generation.openai_fields import Refused
from torchserve.core.handlers.context import Context, RequestProcessor
from torchserve.core.handlers.text_embedder import TextEmbedder, longest_of, pieces, pooling_of, read_options

from ..generation.tiny_encoder import CONTEXT, SIZE, WORDS, save_tiny_encoder

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("encoder")
    save_tiny_encoder(made)
    return made


def load(folder: Path, **options: Any) -> TextEmbedder:
    context = Context("tiny", str(folder), {}, 1, None, "0")
    context.model_yaml_config = {"handler": options}
    handler = TextEmbedder()
    handler.initialize(context)
    return handler


@pytest.fixture(scope="module")
def handler(folder: Path) -> TextEmbedder:
    return load(folder)


def ask(handler: TextEmbedder, *bodies: Any, path: str = "v1/embeddings") -> list[tuple[int, Any]]:
    """The status and the object of each answer to the requests of one batch."""
    context = Context("tiny", ".", {}, len(bodies), None, "0")
    context.request_processor = processors = [RequestProcessor({"url_path": path}) for _ in bodies]
    answers = handler.handle([{"body": body} for body in bodies], context)
    assert {each.get_response_header("content-type") for each in processors} == {"application/json"}
    return [(each.get_response_status_code(), json.loads(body)) for each, body in zip(processors, answers, strict=True)]


def vectors(answer: Any) -> np.ndarray[Any, Any]:
    return np.array([each["embedding"] for each in answer["data"]], dtype=np.float32)


def alone(folder: Path, text: str, first: bool = False) -> Any:
    """The vector of a text, by transformers and nothing of ours."""
    import torch

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        model = transformers.AutoModel.from_pretrained(folder).eval()
        states = model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False)).last_hidden_state[0]
    found = (states[0] if first else states.mean(0)).numpy()
    return found / np.linalg.norm(found)


def test_the_vectors_are_the_models(handler: TextEmbedder, folder: Path) -> None:
    ((status, answer),) = ask(handler, {"model": "alias", "input": ["a b c d a b", "c", "b a"]})
    assert (status, answer["object"], answer["model"]) == (200, "list", "alias")
    assert [(each["object"], each["index"]) for each in answer["data"]] == [("embedding", index) for index in range(3)]
    assert answer["usage"] == {"prompt_tokens": 15, "total_tokens": 15}
    expected = [alone(folder, text) for text in ("a b c d a b", "c", "b a")]
    assert np.allclose(vectors(answer), expected, atol=1e-5), "whatever is padded beside them"
    assert not np.allclose(expected[0], expected[1], atol=1e-2)


def test_the_requests_of_a_batch_have_their_own_answers(handler: TextEmbedder, folder: Path) -> None:
    answers = ask(handler, {"input": "a"}, {"input": []}, b'{"input": ["b c d", "d"]}', {"input": [[2, 5, 3]]})
    assert [status for status, _ in answers] == [200, 400, 200, 200]
    assert answers[1][1]["error"]["param"] == "input"
    found = np.concatenate([vectors(answer) for status, answer in answers if status == 200])
    assert np.allclose(found, [alone(folder, text) for text in ("a", "b c d", "d", "b")], atol=1e-5)


@pytest.mark.parametrize("most", [1, 7, 16384])
def test_pieces_change_nothing(folder: Path, handler: TextEmbedder, most: int) -> None:
    body = {"input": ["a", "b c d a b", "c c", "d", "a b c"]}
    small = load(folder, batch_tokens=most)
    assert np.allclose(vectors(ask(small, body)[0][1]), vectors(ask(handler, body)[0][1]), atol=1e-5)


@pytest.mark.parametrize(
    ("lengths", "most", "padding", "found"),
    [
        ([], 9, 9, []),
        ([2, 5, 3], 9, 9, [[1], [2, 0]]),
        ([2, 5, 3], 15, 15, [[1, 2, 0]]),
        ([4, 4], 1, 9, [[0], [1]]),
        ([2, 5, 3], 15, 4, [[1, 2], [0]]),
        ([2, 5, 3, 5], 99, 0, [[1, 3], [2], [0]]),
        ([100, 2, 90, 1, 3], 999, 12, [[0, 2], [4, 1, 3]]),
    ],
)
def test_pieces(lengths: list[int], most: int, padding: int, found: list[list[int]]) -> None:
    assert pieces(lengths, most, padding) == found


class Computing(TextEmbedder):
    """A handler that keeps the lengths of the texts that it computes at once."""

    def _compute(self, inputs: Sequence[Sequence[int]]) -> np.ndarray[Any, Any]:
        self.computed = [*getattr(self, "computed", []), list(map(len, inputs))]
        return super()._compute(inputs)


def test_short_texts_are_not_padded_to_long_ones(handler: TextEmbedder) -> None:
    """Two are, since nine tokens of padding each are cheaper than a piece of their own; a third would be too many."""
    seen = Computing()
    vars(seen).update(vars(handler))
    ((status, _),) = ask(seen, {"input": [[2, 5, 3]] * 3 + [[2] * 12] * 3})
    assert (status, seen.computed) == (200, [[12] * 3 + [3] * 2, [3]])


def test_the_first_tokens_vector(folder: Path) -> None:
    ((_, answer),) = ask(load(folder, pooling="cls"), {"input": "a b"})
    assert np.allclose(vectors(answer)[0], alone(folder, "a b", first=True), atol=1e-5)


def test_base64(handler: TextEmbedder) -> None:
    (_, plain), (_, packed) = ask(
        handler, {"input": "a b"}, {"input": "a b", "encoding_format": "base64", "dimensions": SIZE}
    )
    found = np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), "<f4")
    assert np.allclose(found, vectors(plain)[0], atol=1e-6)
    assert found.shape == (SIZE,)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"{", None, "not JSON"),
        ([], None, "JSON object"),
        ({}, "input", "'input' must be"),
        ({"input": ""}, "input", "none empty"),
        ({"input": ["a", ""]}, "input", "none empty"),
        ({"input": ["a", 3]}, "input", "'input' must be"),
        ({"input": [-1]}, "input", "'input' must be"),
        ({"input": "\ud800"}, "input", "surrogate"),
        ({"input": ["a"] * (MOST_INPUTS + 1)}, "input", "2049 texts, more than 2048"),
        ({"input": [len(WORDS)]}, "input", "token 8, and the model has 8"),
        ({"input": "a " * (CONTEXT - 1)}, "input", "maximum context length is 12 tokens. However, an input has 13"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "'float' or 'base64'"),
        ({"input": "a", "dimensions": 8}, "dimensions", "'dimensions' is 8, and this model's vectors have 16"),
        ({"input": "a", "dimensions": "8"}, "dimensions", "whole number"),
    ],
)
def test_what_is_refused(handler: TextEmbedder, body: Any, param: str | None, words: str) -> None:
    ((status, answer),) = ask(handler, body)
    assert (status, answer["error"]["param"]) == (400, param)
    assert words in answer["error"]["message"]


def test_another_path_is_refused(handler: TextEmbedder) -> None:
    ((status, answer),) = ask(handler, {"input": "a"}, path="/v1/chat/completions")
    assert (status, answer["error"]["message"]) == (
        404,
        "This model has no 'v1/chat/completions': it has v1/embeddings.",
    )


def test_the_most_inputs_are_read() -> None:
    assert len(read_embeddings({"input": ["a"] * MOST_INPUTS}).inputs) == MOST_INPUTS
    with pytest.raises(Refused):
        read_embeddings({"input": [[1]] * (MOST_INPUTS + 1)})


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("fast", "a table"),
        ({"memory": 3}, "unknown option memory"),
        ({"batch_tokens": 0}, "batch_tokens"),
        ({"threads": True}, "threads"),
        ({"model_path": 3}, "model_path"),
        ({"pooling": "max"}, "pooling"),
        ({"dtype": ["float32"]}, "dtype"),
    ],
)
def test_options_that_are_wrong_are_named(said: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_options(said)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (None, "mean"),
        ("[]", "mean"),
        ('{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false}', "mean"),
        ('{"pooling_mode_cls_token": true}', "cls"),
        ('{"pooling_mode_max_tokens": true}', "pools by pooling_mode_max_tokens"),
        (" " * ((1 << 20) + 1), "more than 1048576 bytes"),
    ],
)
def test_how_a_model_pools(tmp_path: Path, said: str | None, found: str) -> None:
    if said is not None:
        (tmp_path / "1_Pooling").mkdir()
        (tmp_path / "1_Pooling" / "config.json").write_text(said)
    if found in {"mean", "cls"}:
        assert pooling_of(tmp_path, "auto") == found
    else:
        with pytest.raises(ValueError, match=found):
            pooling_of(tmp_path, "auto")
    assert pooling_of(tmp_path, "cls") == "cls"


@pytest.mark.parametrize(
    ("kind", "positions", "tokenizer", "said", "longest"),
    [("bert", 512, 10**30, None, 512), ("bert", 512, 128, 256, 128), ("bert", 512, 512, 256, 256), ("xlm-roberta", 514, 10**30, None, 512)],
)  # fmt: skip
def test_how_long_a_text_may_be(
    tmp_path: Path, kind: str, positions: int, tokenizer: int, said: int | None, longest: int
) -> None:
    if said is not None:
        (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": said}))
    config = SimpleNamespace(model_type=kind, max_position_embeddings=positions, pad_token_id=1)
    assert longest_of(tmp_path, config, SimpleNamespace(model_max_length=tokenizer)) == longest


def test_pickled_weights_are_not_read(tmp_path: Path, folder: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ValueError, match="no weights in safetensors"):
        load(tmp_path)
