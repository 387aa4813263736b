"""Weights that a model's workers share: they lie in pages of the model's file, not in copies of it. Imports torch.

On a CPU only: what is mapped privately is one page in memory for all processes until one writes to it. The file has to
stay as it is while a worker lives, since one that is made shorter would end it by SIGBUS; so this is for archives that
the server has unpacked, not for a user's own folder.

A model is first filled as ever, by copying. Then each of its tensors that equals the file's is given the memory of the
file's, and is the same object as before, so that whoever holds it sees no difference. A tensor of which a view exists
elsewhere keeps its copy, since that view would go on in the old memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .weights import existing, load_pickled

_SAFETENSORS = ".safetensors"
_ZIP = b"PK\x03\x04"  # what files of torch.save begin with since torch 1.6; older ones can't be mapped


def fill(model: Any, path: str, device: Any, *, unsafe: bool, stays: Path | None) -> int:
    """Fill `model` with the state dict in the file, and return how many bytes of its weights lie in the file's pages.

    `stays` is a folder whose files stay as they are, None if there is none. Raises RuntimeError, which names the file
    and the remedy.
    """
    mapped = stays is not None and torch.device(device).type == "cpu" and _is_mappable(Path(path), stays)
    if path.endswith(_SAFETENSORS):
        state = _read_safetensors(path)
    else:
        state = load_pickled(path, device, unsafe=unsafe, mapped=mapped)
    model.load_state_dict(state)
    return share_pages(model, state) if mapped else 0


def _is_mappable(path: Path, folder: Path) -> bool:
    """Return whether the file is in the folder itself, and of a format that has tensors as they lie in memory."""
    try:
        with path.open("rb") as file:
            inside = path.resolve().is_relative_to(folder.resolve())
            return inside and (path.suffix == _SAFETENSORS or file.read(len(_ZIP)) == _ZIP)
    except OSError:
        return False


def _read_safetensors(path: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a file, which lie in its pages."""
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise RuntimeError(
            f"No model weights could be loaded: {Path(path).name} needs a package: pip install safetensors"
        ) from None
    try:
        return load_file(existing(path))
    except SafetensorError as error:
        raise RuntimeError(f"No model weights could be loaded: {Path(path).name} can't be read: {error}") from error


def share_pages(model: torch.nn.Module, state: Mapping[str, Any]) -> int:
    """Have the model's parameters and buffers lie in the memory of `state`, with which it was filled. Return how many
    bytes do so now.
    """
    shared = 0
    own = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers(remove_duplicate=False))}
    for name, tensor in own.items():
        mapped = state.get(name)
        if isinstance(mapped, torch.Tensor) and _alike(tensor, mapped) and _moved(tensor, mapped):
            shared += tensor.numel() * tensor.element_size()
    return shared


def _alike(tensor: torch.Tensor, mapped: torch.Tensor) -> bool:
    return (
        type(mapped) in {torch.Tensor, torch.nn.Parameter}
        and type(tensor) in {torch.Tensor, torch.nn.Parameter}
        and tensor.layout == mapped.layout == torch.strided
        and (tensor.dtype, tensor.device, tensor.shape) == (mapped.dtype, mapped.device, mapped.shape)
        and tensor.stride() == mapped.stride()
        and not tensor.is_quantized
        and torch.equal(tensor, mapped)
    )


def _moved(tensor: torch.Tensor, mapped: torch.Tensor) -> bool:
    """Give `tensor` the memory of `mapped`, and return True; False if another tensor lies in its memory."""
    before = tensor.data
    memory = before.untyped_storage()
    tensor.data = mapped.detach()
    held = torch._C._storage_Use_Count(memory._cdata)  # noqa: SLF001  there is no public way to ask
    if held > 2:  # `memory` and `before`
        tensor.data = before
        return False
    return True
