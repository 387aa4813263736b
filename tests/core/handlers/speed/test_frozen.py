"""Frozen: which models are frozen, what becomes of their graph, and when the model itself is run again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchserve.core.handlers.speed.frozen import Frozen, parameter_bytes
from torchserve.core.handlers.speed.snapshot import Uncopied

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")

ROW = torch.linspace(-1, 1, 3 * 9 * 9).view(3, 9, 9)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.seen: Any = None
        self.register_buffer("count", torch.zeros(1))
        self.eval()

    def forward(self, x: torch.Tensor) -> Any:
        return self.made(self.norm(self.conv(x)))

    def made(self, x: torch.Tensor) -> Any:
        return F.relu6(x).mean((2, 3))


class Rescaled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * 2 - 0.25) / 3.0 + 1


def net(*layers: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*layers).eval()


def scripted(model: nn.Module) -> Any:
    return torch.jit.script(model)


def traced(model: nn.Module) -> Any:
    return torch.jit.trace(model, ROW[None])


def kinds(frozen: Frozen) -> list[str]:
    nodes = frozen._run.script.graph.nodes()
    return [node.kind() for node in nodes if not node.kind().startswith("prim::")]


MERGED = "mkldnn::_convolution_pointwise"
CONV = {"in_channels": 3, "out_channels": 4, "kernel_size": 3}


@pytest.mark.parametrize("script", [lambda model: model, scripted, traced])
@pytest.mark.parametrize(
    ("layers", "left"),
    [
        pytest.param([nn.Conv2d(**CONV)], [MERGED], id="alone"),
        pytest.param([nn.Conv2d(**CONV, bias=False), nn.BatchNorm2d(4), nn.ReLU()], [MERGED], id="batch norm, relu"),
        pytest.param([nn.Conv2d(**CONV), nn.ReLU(inplace=True)], [MERGED], id="in place"),
        pytest.param([nn.Conv2d(**CONV), nn.Hardtanh(-0.1, 0.2)], [MERGED], id="hardtanh"),
        pytest.param([nn.Conv2d(**CONV), nn.SiLU()], [MERGED], id="silu"),
        pytest.param([nn.Conv2d(**CONV), nn.Hardswish()], [MERGED], id="hardswish"),
        pytest.param([nn.Conv2d(**CONV), nn.Sigmoid()], [MERGED], id="sigmoid"),
        pytest.param([nn.Conv2d(**CONV), nn.Tanh()], [MERGED], id="tanh"),
        pytest.param([nn.Conv2d(**CONV), nn.LeakyReLU(0.3)], [MERGED], id="leaky relu"),
        pytest.param([nn.Conv2d(**CONV), nn.ELU()], [MERGED, "aten::elu"], id="an activation we don't know"),
        pytest.param([nn.Conv2d(**CONV, stride=2, dilation=(1, 2), padding=(2, 1)), nn.ReLU()], [MERGED], id="strides"),
        pytest.param([nn.Conv2d(3, 6, 3, groups=3), nn.ReLU()], [MERGED], id="groups"),
        pytest.param([nn.Conv2d(**CONV, padding="same"), nn.ELU()], ["aten::elu"], id="padding by name"),
        pytest.param([nn.Conv2d(**CONV, padding=1, padding_mode="reflect")], ["aten::pad", MERGED], id="reflected"),
        pytest.param([nn.ConvTranspose2d(**CONV)], [], id="transposed"),
        pytest.param(
            [Rescaled(), nn.Conv2d(**CONV)], ["aten::mul", "aten::sub", "aten::div", "aten::add", MERGED], id="numbers"
        ),
        pytest.param([nn.ReLU(), nn.ZeroPad2d((1, 1, 2, 2)), nn.Conv2d(**CONV)], ["aten::relu", MERGED], id="padded"),
        pytest.param(
            [nn.ReLU(), nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(**CONV)], ["aten::relu", "aten::pad", MERGED], id="uneven"
        ),
        pytest.param(
            [nn.ReLU(), nn.ConstantPad2d(1, 0.5), nn.Conv2d(**CONV)], ["aten::relu", "aten::pad", MERGED], id="no zeros"
        ),
        pytest.param([nn.Conv2d(3, 3, 3), nn.Conv2d(**CONV), nn.ReLU()], [MERGED, MERGED], id="two"),
        pytest.param([nn.Conv2d(**CONV).double()], [], id="double"),
    ],
)
@torch.inference_mode()
def test_convolutions_are_merged_with_what_is_around_them(
    script: Any, layers: list[nn.Module], left: list[str]
) -> None:
    dtype = next(iter(net(*layers).parameters())).dtype
    row = ROW.to(dtype)
    with torch.inference_mode(mode=False):
        model = net(*layers)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-1, 1)
                module.running_var.uniform_(0.5, 2)
        made = script(model) if dtype == torch.float32 else model
        frozen = Frozen(made, row)
    found = kinds(frozen)
    if left:
        assert [kind for kind in found if kind == MERGED or kind in left] == left
        assert "aten::batch_norm" not in found
    else:
        assert MERGED not in found
    for size in (1, 2, 5):
        batch = torch.stack([row] * size) * torch.linspace(0.5, 1, size, dtype=dtype).view(-1, 1, 1, 1)
        run = frozen.instead_of(made, batch)
        assert run is not made
        torch.testing.assert_close(run(batch), model(batch), rtol=1e-4, atol=1e-5)


class Shared(Net):
    """What a convolution made is used twice, so the activation can't take its place."""

    def made(self, x: torch.Tensor) -> Any:
        return torch.relu(x) + x


class Dict(Net):
    def made(self, x: torch.Tensor) -> Any:
        return {"out": torch.relu(x), "low": x.amin((1, 2, 3))}


@pytest.mark.parametrize("cls", [Net, Shared, Dict])
def test_other_shapes_of_output(cls: type[Net]) -> None:
    model = cls()
    batch = torch.stack([ROW, -ROW])
    with torch.inference_mode():
        torch.testing.assert_close(Frozen(model, ROW)._run(batch), model(batch), rtol=1e-4, atol=1e-5)


class Counts(Net):
    def made(self, x: torch.Tensor) -> Any:
        self.count += 1
        return x


class Replaces(Net):
    def made(self, x: torch.Tensor) -> Any:
        self.count = self.count + 1
        return x


class Remembers(Net):
    def made(self, x: torch.Tensor) -> Any:
        self.seen = x
        return x


class Appends(Net):
    def made(self, x: torch.Tensor) -> Any:
        self.seen = self.seen or {}
        self.seen[len(self.seen)] = x
        return x


class Depends(Net):
    def made(self, x: torch.Tensor) -> Any:
        return x if x.sum() > 0 else -x


class Sized(Net):
    def made(self, x: torch.Tensor) -> Any:
        return x / len(x.unbind())


class Integer(nn.Module):
    """A script that counts in a number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.calls = 0
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.conv(x)


def hooked() -> nn.Module:
    model = Net()
    model.norm.register_forward_hook(lambda *_: None)
    return model


def dropping() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout()).eval()
    model[1].train()
    return model


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Counts, "keeps something"),
        (Replaces, "keeps something"),
        (Remembers, "keeps something"),
        (Appends, "keeps something"),
        (hooked, "hooks"),
        (lambda: Net().train(), "training mode"),
        (dropping, "traced, it answers otherwise"),
        (Sized, "traced, it answers otherwise"),
        (Depends, "can't be traced: Converting a tensor to a Python boolean"),
        (lambda: scripted(Counts()), "keeps something"),
        (lambda: scripted(Integer()), "keeps something"),
    ],
)
def test_a_model_that_does_more_is_left_alone(make: Any, why: str) -> None:
    with pytest.raises(Uncopied, match=why):
        Frozen(make(), ROW)


def replaced(model: Net) -> Net:
    return Net()


def trained(model: Net) -> Net:
    return model.train()


def listened_to(model: Net) -> Net:
    model.norm.register_forward_pre_hook(lambda *_: None)
    return model


def loaded(model: Net) -> Net:
    model.load_state_dict(Net().state_dict())
    return model


def overwritten(model: Net) -> Net:
    model.conv.weight.data = torch.ones_like(model.conv.weight)
    return model


def rebuilt(model: Net) -> Net:
    model.conv = nn.Conv2d(3, 4, 3)
    return model


@pytest.mark.parametrize("change", [replaced, rebuilt, trained, listened_to, loaded, overwritten])
def test_a_changed_model_runs_itself(change: Any) -> None:
    model = Net()
    frozen = Frozen(model, ROW)
    assert frozen.instead_of(model, ROW[None]) is not model
    changed = change(model)
    assert frozen.instead_of(changed, ROW[None]) is changed


@pytest.mark.parametrize("data", [ROW[None, :, 1:], ROW[None].half(), [ROW[None]], ROW[None].to("meta")])
def test_other_rows_are_for_the_model_itself(data: Any) -> None:
    model = Net()
    assert Frozen(model, ROW).instead_of(model, data) is model


def test_the_model_stays_what_it_was() -> None:
    model = Net()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    Frozen(model, ROW)
    torch.testing.assert_close(model.state_dict(), before)
    model(ROW[None]).sum().backward()
    assert model.conv.weight.grad is not None
    assert parameter_bytes(model) == 4 * (3 * 4 * 9 + 8)


def test_few_rows_run_the_model() -> None:
    model = net(nn.Conv2d(**CONV))
    frozen = Frozen(model, ROW)
    frozen.least = 3
    assert [frozen.instead_of(model, ROW.expand(rows, *ROW.shape)) is model for rows in (1, 2, 3, 4)] == [
        True,
        True,
        False,
        False,
    ]
