"""TextClassifier on a bag of n-grams whose answers can be worked out by hand."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from torchserve.core.handlers.context import Context, RequestProcessor
from torchserve.core.handlers.prediction_exception import PredictionException
from torchserve.core.handlers.text_classifier import TextClassifier

NET = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.EmbeddingBag(5, 2, mode="sum")
        self.embedding.weight.data = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 3.0]])
    def forward(self, text, offsets):
        return self.embedding(text, offsets)
"""
VOCABULARY = {"<unk>": 0, "good": 1, "bad": 2, "good good": 3, "not": 4}


def make_context(folder: Path, explain: str = "False", **config: object) -> Context:
    made = Context(
        "m", str(folder), {"model": {"modelFile": "textnet.py"}}, 1, None, "0", model_yaml_config=dict(config)
    )
    made.request_processor = [RequestProcessor({"explain": explain})]
    return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    (tmp_path / "textnet.py").write_text(NET)
    (tmp_path / "index_to_name.json").write_text('{"0": "positive", "1": "negative"}')
    torch.save(VOCABULARY, tmp_path / "source_vocab.pt")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("textnet", None)


@pytest.fixture
def handler(folder: Path) -> TextClassifier:
    made = TextClassifier()
    made.initialize(make_context(folder))
    assert made.initialized
    return made


def shares(positive: float, negative: float) -> dict[str, float]:
    first, second = torch.softmax(torch.tensor([positive, negative], dtype=torch.float), 0).tolist()
    return {"positive": pytest.approx(first), "negative": pytest.approx(second)}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"data": "good"}, shares(1, 0)),
        ({"body": b"<p>Good GOOD!</p>"}, shares(4, 0)),
        ({"data": bytearray("Göod, bäd".encode())}, shares(1, 1)),
        ({"data": "isn't bad"}, shares(0, 4)),  # is, not, bad
        ({"data": "strange"}, shares(0, 0)),
    ],
)
def test_one_text(handler: TextClassifier, folder: Path, row: dict, expected: dict) -> None:
    assert handler.handle([row], make_context(folder)) == [expected]


def test_texts_of_a_batch_do_not_touch_one_another(handler: TextClassifier, folder: Path) -> None:
    rows = [{"data": "good good"}, {"data": "bad"}, {"data": "not bad"}]
    assert handler.handle(rows, make_context(folder)) == [shares(4, 0), shares(0, 1), shares(0, 4)]


@pytest.mark.parametrize(
    ("row", "text"),
    [({"data": "..."}, "no words"), ({}, "no words"), ({"data": {"a": 1}}, "expected a text, got a dict")],
)
def test_what_is_no_text_is_the_clients_fault(handler: TextClassifier, folder: Path, row: dict, text: str) -> None:
    with pytest.raises(PredictionException, match=f"{text}.* 400"):
        handler.handle([row], make_context(folder))


def test_a_vocabulary_without_a_place_for_unknown_words(handler: TextClassifier, folder: Path) -> None:
    handler.source_vocab = {"good": 1}
    with pytest.raises(PredictionException, match=r"neither 'strange' nor <unk>.* 400"):
        handler.handle([{"data": "strange"}], make_context(folder))


def test_an_explanation_names_the_words(handler: TextClassifier, folder: Path) -> None:
    (answer,) = handler.handle([{"data": "good not", "target": 1}], make_context(folder, explain="True"))
    assert answer["words"] == ["good", "not"]
    assert torch.tensor(answer["importances"]).isfinite().all()


def test_a_missing_vocabulary_is_told(folder: Path) -> None:
    (folder / "source_vocab.pt").unlink()
    with pytest.raises(RuntimeError, match=r"Missing the source_vocab file.*--extra-files"):
        TextClassifier().initialize(make_context(folder))


class Vocab:
    def __getitem__(self, token: str) -> int:
        return 1


@pytest.mark.parametrize("trusted", [False, True])
def test_a_vocabulary_of_torchtext(folder: Path, monkeypatch, trusted: bool) -> None:
    """It can't be read without the package, which no torch of today has; what to save instead is told."""
    module = ModuleType("torchtext_of_old")
    module.Vocab = Vocab
    monkeypatch.setattr(Vocab, "__module__", "torchtext_of_old")
    monkeypatch.setitem(sys.modules, "torchtext_of_old", module)
    torch.save(Vocab(), folder / "source_vocab.pt", pickle_module=pickle)
    handler, context = TextClassifier(), make_context(folder, handler={"weights_only": not trusted})
    if trusted:
        handler.initialize(context)
        assert handler.source_vocab["anything"] == 1
        monkeypatch.delitem(sys.modules, "torchtext_of_old")
        expected = "an object of torchtext_of_old, which is not installed: save a dict"
    else:
        expected = "source_vocab.pt is not a plain state dict.*torchtext.*save a dict"
    with pytest.raises(RuntimeError, match=expected):
        TextClassifier().initialize(context)


def test_a_vocabulary_of_nothing(folder: Path) -> None:
    torch.save(7, folder / "source_vocab.pt")
    with pytest.raises(RuntimeError, match="holds a int, not a vocabulary"):
        TextClassifier().initialize(make_context(folder))
