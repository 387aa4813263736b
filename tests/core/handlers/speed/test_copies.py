"""Copies that compute in another way: what they are of, how far off they are, and when the model itself runs again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from torchserve.core.handlers.speed.copies import (
    Copied,
    bfloat16_unit,
    compiled,
    in_bfloat16,
    linear_share,
    with_int8_linears,
)
from torchserve.core.handlers.speed.outputs_close import largest_difference
from torchserve.core.handlers.speed.snapshot import Uncopied

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")

ROW = torch.linspace(-1, 1, 24)


def perceptron(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(24, 32), nn.GELU(), nn.Linear(32, 8, bias=False)).eval()


class Tied(nn.Module):
    """A model that uses one layer twice and reads its layers' attributes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one = nn.Linear(24, 24)
        self.other = self.one
        self.register_buffer("scale", torch.ones(1))
        self.eval()

    def forward(self, x: torch.Tensor) -> Any:
        made = self.other(self.one(x.to(self.one.weight.dtype))) * self.scale
        return {"made": made, "all": (made.sum(1), self.one.in_features)}


def encoder() -> nn.Module:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(24, 2, 96, dropout=0.0, activation="gelu", batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()


def answers(model: Any, run: Any, *shape: int) -> float:
    batch = torch.rand(*shape) - 0.5
    with torch.inference_mode():
        return largest_difference(run(batch), model(batch))


@pytest.mark.parametrize(
    ("model", "shape"),
    [(perceptron(), (3, 24)), (Tied(), (3, 24)), (encoder(), (3, 5, 24)), (nn.Linear(24, 8).eval(), (3, 24))],
)
def test_int8_layers_are_near_and_not_the_same(model: nn.Module, shape: tuple[int, ...]) -> None:
    assert 0.0 < answers(model, Copied(model, with_int8_linears).instead_of(model, torch.rand(shape)), *shape) < 0.2
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(("model", "shape"), [(perceptron(), (3, 24)), (Tied(), (3, 24)), (encoder(), (3, 5, 24))])
def test_bfloat16_is_near_and_not_the_same_and_answers_in_float32(model: nn.Module, shape: tuple[int, ...]) -> None:
    assert 0.0 < answers(model, in_bfloat16(model), *shape) < 0.05  # answers of another type would be infinitely far


def test_whole_numbers_stay_whole() -> None:
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(8, 2)).eval()
    tokens = torch.tensor([[1, 8], [2, 3]])
    with torch.inference_mode():
        for convert in (in_bfloat16, with_int8_linears):
            assert 0.0 < largest_difference(convert(model)(tokens), model(tokens)) < 0.2


def test_int8_weights_never_overflow() -> None:
    layer = nn.Linear(64, 4, bias=False).eval()
    with torch.no_grad():
        layer.weight.fill_(1.0)  # the largest products there are, added up
    batch = torch.ones(2, 64)
    with torch.inference_mode():
        assert largest_difference(with_int8_linears(layer)(batch), layer(batch)) < 0.01


def test_all_but_the_linear_layers_shares_the_models_memory() -> None:
    model = nn.Sequential(nn.Embedding(9, 24), perceptron()).eval()
    (run,) = (each.cell_contents for each in with_int8_linears(model).__closure__ or ())
    assert {each.data_ptr() for each in run.parameters()} == {each.data_ptr() for each in model.parameters()}
    assert type(model[1][0]) is nn.Linear


@pytest.mark.parametrize(
    ("make", "convert", "why"),
    [
        (lambda: perceptron().train(), with_int8_linears, "it is in training mode"),
        (lambda: torch.jit.script(perceptron()), with_int8_linears, "a TorchScript model's layers can't be replaced"),
        (
            lambda: nn.Sequential(nn.Conv2d(3, 24, 3), nn.Linear(8, 8)).eval(),
            with_int8_linears,
            "only 9% of its weights, embeddings aside, are those of linear layers",
        ),
        (lambda: perceptron().double(), in_bfloat16, "its weights are not all in float32"),
    ],
)
def test_no_copy_is_made(make: Any, convert: Any, why: str) -> None:
    with pytest.raises(Uncopied, match=why):
        Copied(make(), convert)


def test_embeddings_are_looked_up() -> None:
    assert linear_share(nn.Sequential(nn.Embedding(1000, 24), nn.Linear(24, 1, bias=False))) == 1.0
    assert linear_share(nn.ReLU()) == 0.0


def hooked(model: nn.Module) -> None:
    model.register_forward_hook(lambda *_: None)


def changed(model: nn.Module) -> None:
    with torch.no_grad():
        model[0].weight.mul_(2.0)


def replaced(model: nn.Module) -> None:
    model[1] = nn.ReLU()


@pytest.mark.parametrize("change", [hooked, changed, replaced, nn.Module.train])
def test_a_changed_model_runs_itself(change: Any) -> None:
    model = perceptron()
    copied = Copied(model, with_int8_linears)
    assert copied.instead_of(model, ROW[None]) is not model
    change(model)
    assert copied.instead_of(model, ROW[None]) is model


def test_other_models_and_inputs_run_the_model() -> None:
    model, other = perceptron(), perceptron()
    copied = Copied(model, in_bfloat16, ROW)
    assert copied.instead_of(other, ROW[None]) is other
    assert copied.instead_of(model, {"x": ROW}) is model
    assert copied.instead_of(model, ROW[None, :5]) is model
    assert copied.instead_of(model, ROW[None]) is not model


@pytest.mark.parametrize(
    ("amx", "avx512", "unit"),
    [(True, True, "AMX"), (True, False, "AMX"), (False, True, "AVX512-BF16"), (False, False, None)],
)
def test_the_processors_unit(amx: bool, avx512: bool, unit: str | None) -> None:
    processor = SimpleNamespace(_is_amx_tile_supported=lambda: amx, _is_avx512_bf16_supported=lambda: avx512)
    assert bfloat16_unit(processor) == unit


def test_a_script_is_not_compiled() -> None:
    with pytest.raises(Uncopied, match="a TorchScript model can't be compiled"):
        compiled(torch.jit.script(perceptron()), ROW, 4)


@pytest.mark.thorough
def test_a_compiled_model_takes_any_size_of_the_batch_without_compiling_again() -> None:
    seen: list[Any] = []

    def backend(graph: Any, _inputs: Any) -> Any:
        seen.append(graph)
        return graph.forward

    model = perceptron()
    run = compiled(model, ROW, 4, backend=backend)
    assert len(seen) == 2
    for size in (1, 2, 3, 7):
        batch = torch.rand(size, 24)
        torch.testing.assert_close(run(batch), model(batch))
    assert len(seen) == 2
