"""Unpadded: transformer encoders compute no padding, where that is the same and faster."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from torchserve.core.handlers.base import BaseHandler
from torchserve.core.handlers.context import Context
from torchserve.core.handlers.micro_batching import MicroBatching
from torchserve.core.handlers.speed.accelerate import accelerate
from torchserve.core.handlers.speed.unpadded import Unpadded, unpadded

from .doubles import Clock

WIDTH = 16


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Encoder(nn.Module):
    """A small model of texts. A second of its clock goes by for each token of which it computes all layers."""

    def __init__(self, first: bool = False, nested: bool = False, norm: bool = False, looks: bool = False) -> None:
        super().__init__()
        self.tokens = nn.Embedding(50, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 32, batch_first=True, norm_first=first, activation="gelu")
        last = nn.LayerNorm(WIDTH) if norm else None
        self.layers = nn.TransformerEncoder(layer, 2, last, enable_nested_tensor=nested and not first)
        self.looks = looks
        self.clock = Clock()
        self.took = lambda: 0.0
        self.tried: list[float] = []
        self.chosen: list[str] = []
        self.eval()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        there = tokens != 0
        hidden = self.layers(self.tokens(tokens), src_key_padding_mask=~there)
        self.clock.now += self.took()
        return hidden.mean(1) if self.looks else (hidden * there[..., None]).sum(1) / there.sum(1, keepdim=True)


def prepared(model: Encoder, took: Callable[[int], float] = float) -> Unpadded:
    found = unpadded(model, lambda: model.tried.append(model.clock.now), model.chosen.append, model.clock)
    assert found is not None
    model.took = lambda: took(found.work)
    return found


def batch(*lengths: int, left: bool = False) -> torch.Tensor:
    texts = [torch.randint(1, 50, (length,)) for length in lengths]
    return nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_side="left" if left else "right")


@torch.inference_mode()
def computed(found: Unpadded, times: int = 1, *lengths: int) -> list[int]:
    """Return what `work` says of the last of so many batches, whose answers are compared with the plain model's."""
    works = []
    for _ in range(times):
        data = batch(*lengths or (3, 9, 5))
        answer, works = found(data), [*works, found.work]
        torch.testing.assert_close(answer, found._run(data, packs=False), rtol=1e-4, atol=1e-5)
    return works


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@settings(max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5) | st.just([130, 130]),
    kind=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    left=st.booleans(),
)
def test_texts_get_the_same_answers_without_their_padding(
    lengths: list[int], kind: tuple[bool, bool, bool], left: bool
):
    torch.manual_seed(1)
    model = Encoder(*kind)
    data = batch(*lengths, left=left)
    with torch.inference_mode():
        expected = model(data)
        found = prepared(model)
        found._taken = True
        torch.testing.assert_close(found(data), expected, rtol=1e-4, atol=1e-5)
    assert found.work == sum(lengths)


def test_padding_is_left_out_once_batches_were_the_same_and_faster() -> None:
    """The batches that were computed both ways are told, and the choice."""
    model = Encoder()
    assert computed(prepared(model), 4) == [0, 0, 17, 17]
    assert len(model.tried) == 2
    assert model.chosen == ["without their padding: measured 1.59 times as fast"]


def test_a_batch_without_padding_says_nothing_about_the_gain() -> None:
    found = prepared(Encoder())
    assert computed(found, 9, 8, 8) == [16] * 9
    assert computed(found, 5)[-1] == 17


@pytest.mark.parametrize("slower", [1.0, 1.6])
def test_what_is_no_faster_is_not_taken(slower: float) -> None:
    """27 tokens with their padding, 17 without."""
    model = Encoder()
    found = prepared(model, lambda tokens: 27.0 if tokens == 27 else 27.0 * slower)
    plain = model.layers.forward
    assert computed(found, 6)[-1] == 0
    assert found.instead_of(model, None) is model and model.layers.forward is not plain


def test_a_saved_or_copied_model_is_a_plain_one() -> None:
    """A handler may save its whole model, or copy it, at any time."""
    torch.manual_seed(1)
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 32, batch_first=True, activation="gelu")
    model = nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)).eval()
    data = torch.rand(2, 5, WIDTH)
    expected = model(data)
    assert unpadded(model, lambda: None, lambda _: None) is not None
    assert "forward" in vars(model[0])
    written = io.BytesIO()
    torch.save(model, written)
    assert b"torchserve" not in written.getvalue(), "it can be read without this server"
    written.seek(0)
    for made in (torch.load(written, weights_only=False), copy.deepcopy(model)):
        assert made[0].forward.__self__ is made[0]
        assert made[0].forward.__func__ is nn.TransformerEncoder.forward
        assert torch.equal(made(data), expected)


def test_a_model_that_looks_at_the_padding_is_left_as_it_is() -> None:
    model = Encoder(looks=True)
    found, data = prepared(model), batch(3, 9)
    with torch.inference_mode():
        expected = Encoder.forward(model, data)
        assert torch.equal(found(data), expected)
        assert found.instead_of(model, data) is model
        assert torch.equal(model(data), expected)


def test_a_model_that_fails_without_padding_is_left_as_it_is() -> None:
    model, data = Encoder(), batch(3, 9)
    found = prepared(model)

    def took() -> float:
        if found._packs:
            raise ValueError("it is looked at")
        return 1.0

    model.took = took
    with torch.inference_mode():
        found(data)
    assert found.instead_of(model, data) is model


@pytest.mark.parametrize("what", ["gradients", "a mask", "training", "autocast", "an empty text"])
def test_other_calls_are_plain(what: str) -> None:
    """Each of them goes to torch's own forward, which answers or refuses as ever."""
    model = Encoder()
    found = prepared(model)
    found._packs = True
    hidden, padding = torch.rand(2, 5, WIDTH), batch(5, 2) == 0
    plain: list[Any] = []
    model.layers.forward = type(model.layers.forward)(
        model.layers.forward.func, model.layers, lambda *args, **_: plain.append(args)
    )
    mask = torch.zeros(5, 5) if what == "a mask" else None
    model.train(what == "training")
    if what == "an empty text":
        padding[1] = True
    with torch.set_grad_enabled(what == "gradients"), torch.autocast("cpu", enabled=what == "autocast"):
        model.layers(hidden, mask, padding)
    assert len(plain) == 1


class Own(nn.TransformerEncoderLayer):
    pass


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model, "layers", nn.TransformerEncoder(Own(WIDTH, 2, batch_first=True), 1)),
        lambda model: setattr(
            model, "layers", nn.TransformerEncoder(nn.TransformerEncoderLayer(WIDTH, 2), 1, None, False)
        ),
        lambda model: model.layers.layers[1].linear1.register_forward_hook(lambda *_: None),
        lambda model: setattr(model.layers.layers[0], "forward", nn.Identity().forward),
        lambda model: setattr(model, "layers", None),
    ],
    ids=["layers of its own", "the batch is second", "a hook", "a forward of its own", "no encoder"],
)
def test_what_is_not_known_is_left_alone(change: Callable[[Any], Any]) -> None:
    model = Encoder()
    change(model)
    assert unpadded(model, lambda: None, print) is None


class Own_(BaseHandler):
    def preprocess(self, data: Any) -> torch.Tensor:
        return data


class OwnInference(Own_):
    def inference(self, data: Any, *_: Any, **__: Any) -> torch.Tensor:
        return self.model(data)


@pytest.mark.parametrize(
    ("kind", "config", "measured"),
    [
        (Own_, {}, True),
        (Own_, {"warmUp": {"shape": [8], "below": 50}}, True),
        (Own_, {"warmUp": False}, False),
        (Own_, {"quantize": "dynamic"}, False),
        (OwnInference, {}, False),
    ],
)
def test_a_handler_has_it_measured_at_work(kind: type[BaseHandler], config: dict[str, Any], measured: bool) -> None:
    handler = kind()
    handler.model, handler.device = Encoder(), torch.device("cpu")
    handler.context = Context("m", "/", {"model": {}}, 1, None, "0")
    notes = accelerate(handler, config, 4)
    assert ("padding" in notes) is measured is isinstance(handler._faster_model, Unpadded)
    with torch.inference_mode():
        assert handler.inference(batch(2, 5)).shape == (2, WIDTH)
    assert handler.context.untypical is measured


def test_the_choice_is_told_to_the_server() -> None:
    handler = Own_()
    handler.model, handler.device = Encoder(looks=True), torch.device("cpu")
    handler.context = context = Context("m", "/", {"model": {}}, 1, None, "0")
    context.notes |= accelerate(handler, {}, 4)
    told: list[dict[str, str]] = []
    context.tell_notes = lambda notes: told.append(dict(notes))
    with torch.inference_mode():
        handler.inference(batch(2, 5))
    assert told == [context.notes]
    assert told[0]["padding"] == "with their padding: without, the model changes the answers"


def test_micro_batches_in_threads_of_their_own_are_left_alone() -> None:
    handler = Own_()
    handler.model, handler.device = Encoder(), torch.device("cpu")
    handler.handle = MicroBatching(handler, 2)
    assert "padding" not in accelerate(handler, {}, 4)
