"""MiniLM, the encoder of all-MiniLM-L6-v2: from token numbers to one vector for each text."""

from __future__ import annotations

import torch
from torch import nn

WIDTH, HEADS, LAYERS, INNER = 384, 12, 6, 1536
TOKENS, POSITIONS = 30_522, 512


class MiniLM(nn.Module):
    """A BERT of six layers, whose output is the mean over each text's tokens, scaled to length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(TOKENS, WIDTH)
        self.positions = nn.Embedding(POSITIONS, WIDTH)
        self.kind = nn.Parameter(torch.zeros(WIDTH))  # BERT tells first from second sentences; here all are first
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, INNER, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return vectors [N, 384] of length 1 for tokens [N, T], which are 0 behind the end of a text."""
        there = tokens != 0
        words = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]] + self.kind
        hidden = self.layers(self.norm(words), src_key_padding_mask=~there)
        mean = (hidden * there[..., None]).sum(dim=1) / there.sum(dim=1, keepdim=True)
        return nn.functional.normalize(mean, dim=1)
