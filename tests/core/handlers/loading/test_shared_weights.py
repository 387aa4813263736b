"""Weights that lie in pages of the model's file: which do, that the model computes the same, and that nobody else sees
what one process changes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from torchserve.core.handlers.base import BaseHandler
from torchserve.core.handlers.context import Context
from torchserve.core.handlers.loading.shared_weights import fill

NET = """
import torch
class Net(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Linear(64, 64), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, 4))
        self[2].weight = torch.nn.Parameter(torch.zeros(4, 64))
"""
BYTES = 4 * (64 * 64 + 64 + 4 * 64 + 64 * 4 + 4) + 8


class Net(torch.nn.Sequential):
    def __init__(self) -> None:
        super().__init__(torch.nn.Linear(64, 64), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, 4))


def twice(net: torch.nn.Module, _: object) -> None:
    net[0].weight.detach().mul_(2.0)


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return Net().state_dict()


def saved(path: Path, tensors: dict[str, torch.Tensor], **options: Any) -> Path:
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, **options)
    return path


def in_file(tensor: torch.Tensor, path: Path) -> bool:
    """Whether the tensor lies in a private mapping of the file."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        places, rights, *rest = line.split()
        start, end = (int(each, 16) for each in places.split("-"))
        if start <= tensor.data_ptr() < end:
            return rest[-1] == str(path.resolve()) and rights.endswith("p")
    return False


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    (tmp_path / "sharednet.py").write_text(NET)
    sys.path.insert(0, str(tmp_path))
    yield Context("m", str(tmp_path), {"model": {"modelFile": "sharednet.py"}}, 1, None, "0")
    sys.path.remove(str(tmp_path))
    sys.modules.pop("sharednet", None)


@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
def test_the_default_handler_maps_what_stays(context: Context, tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / name, state())
    before = path.read_bytes()
    context.manifest["model"]["serializedFile"] = name
    context.files_stay = True
    handler = BaseHandler()
    handler.initialize(context)
    assert all(in_file(tensor, path) for tensor in handler.model.state_dict().values())
    assert context.notes["weights"].endswith("MiB are in memory once for all workers")
    expected = Net()
    expected.load_state_dict(state())
    rows = torch.randn(3, 64)
    assert torch.equal(handler.model(rows), expected.eval()(rows))
    with torch.no_grad():
        handler.model[0].weight.zero_()
    assert path.read_bytes() == before, "what a process changes is its own"
    other = BaseHandler()
    context.files_stay = False
    context.notes.clear()
    other.initialize(context)
    assert not any(in_file(tensor, path) for tensor in other.model.state_dict().values())
    assert not context.notes


def test_what_holds_a_weight_sees_no_difference(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.pt", state())
    model = Net()
    held, part = model[0].weight, model[0].bias.detach()[:2]
    assert fill(model, str(path), "cpu", unsafe=False, stays=tmp_path) == BYTES - model[0].bias.numel() * 4
    assert model[0].weight is held
    assert in_file(held, path)
    assert torch.equal(part, state()["0.bias"][:2]), (
        "a view elsewhere has the weights, too: its tensor keeps its memory"
    )
    assert not in_file(model[0].bias, path)


@pytest.mark.parametrize("case", ["half", "channels last", "tied", "hooked", "old", "linked", "no folder"])
def test_what_the_model_or_the_file_makes_of_it_is_copied(tmp_path: Path, case: str) -> None:
    tensors, model, options, stays = state(), Net(), {}, tmp_path
    if case == "half":
        tensors["0.weight"] = tensors["0.weight"].half()
    elif case == "channels last":
        tensors["0.weight"] = tensors["0.weight"].t().contiguous().t()
    elif case == "tied":
        model[2].weight = torch.nn.Parameter(model[0].weight.detach()[:4])
    elif case == "hooked":
        model.register_load_state_dict_post_hook(twice)
    elif case == "old":
        options = {"_use_new_zipfile_serialization": False}
    elif case == "linked":
        stays = tmp_path / "model"
        stays.mkdir()
    path = saved(tmp_path / "net.pt", tensors, **options)
    if case == "linked":
        path = stays / "net.pt"
        path.symlink_to(tmp_path / "net.pt")
    fill(model, str(path), "cpu", unsafe=False, stays=None if case == "no folder" else stays)
    assert not in_file(model[0].weight, tmp_path / "net.pt")
    assert in_file(model[1].weight, tmp_path / "net.pt") is (case in {"half", "channels last", "tied", "hooked"})
    expected = Net()
    expected.load_state_dict(state())
    rows = torch.randn(3, 64)
    if case == "hooked":
        assert torch.equal(model[0].weight, 2.0 * state()["0.weight"])
    elif case != "tied":
        assert torch.allclose(model.eval()(rows), expected.eval()(rows), atol=1e-2 if case == "half" else 1e-6)


@pytest.mark.parametrize(
    ("name", "text"), [("net.pt", "central directory"), ("net.safetensors", "net.safetensors can't be")]
)
def test_a_torn_file_is_refused(tmp_path: Path, name: str, text: str) -> None:
    path = saved(tmp_path / name, state())
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(RuntimeError, match=text):
        fill(Net(), str(path), "cpu", unsafe=False, stays=tmp_path)
    with pytest.raises(RuntimeError, match=f"{name} is missing"):
        fill(Net(), str(tmp_path / "gone" / name), "cpu", unsafe=False, stays=tmp_path)
