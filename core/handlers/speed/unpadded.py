"""Runs transformer encoders without the padding of a batch, once batches at work show that it pays. Imports torch.

Texts of a batch are padded to the longest, and a model computes the padding like all else, though nothing depends on
it. Here the tokens of all texts are one long text for every layer but attention, which each text has for itself. That
is right for `torch.nn.TransformerEncoder`, whose layers see other tokens in attention alone, as long as the model
around it does not look at what it answers for padding: zeros here. So nothing is taken for granted: the first batches
with padding are computed both ways, and requests get the plain answer, until _BATCHES of them were the same and faster.
The scheduler, which learns which batches pay, is told to learn nothing from these.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .candidate import GAINS
from .outputs_close import outputs_close

_BATCHES = 2  # padded batches that are computed both ways before the choice
_PADDED = 0.2  # share of padding from which on a batch says something about the gain
_LONG = 128  # tokens from which on torch's fused layers are the slower ones even without padding


class Unpadded:
    """A model whose transformer `encoders` can run without padding.

    `tried` is called for each batch that is computed both ways, `chosen` with what came of them. `clock` is replaced in
    tests.
    """

    def __init__(
        self,
        model: Any,
        encoders: list[nn.TransformerEncoder],
        tried: Callable[[], None],
        chosen: Callable[[str], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.work = 0
        """Tokens that the encoders have computed in the last call; 0 if it says nothing about the time of a token."""
        self._model = model
        self._encoders = encoders
        self._on_try = tried
        self._on_choice = chosen
        self._clock = clock
        self._taken = self._given_up = False
        self._packs = False  # what the encoders do now
        self._padding = 0  # tokens of padding among those of the running call
        self._plain = self._packed = 0.0  # seconds of the batches that were computed both ways
        self._tried = 0
        for encoder in encoders:
            encoder.forward = _Replaced(self._encode, encoder, encoder.forward)

    def instead_of(self, model: Any, data: Any) -> Any:
        """Return what to call with `data` in place of `model`."""
        return model if self._given_up or model is not self._model else self

    def __call__(self, data: Any) -> Any:
        """Return the model's output for the batch `data`."""
        if self._taken:
            return self._run(data, packs=True)
        began = self._clock()
        output = self._run(data, packs=False)
        if self._padding > _PADDED * self.work:
            self._try(data, output, self._clock() - began)
            self.work = 0
        return output

    def _run(self, data: Any, *, packs: bool) -> Any:
        self._packs, self.work, self._padding = packs, 0, 0
        try:
            return self._model(data)
        finally:
            self._packs = False

    def _try(self, data: Any, output: Any, seconds: float) -> None:
        """Compute the batch without padding, beside the plain `output`, which took `seconds`; after some, choose."""
        self._on_try()
        began = self._clock()
        try:
            found = self._run(data, packs=True)
        except Exception as error:  # noqa: BLE001  a model may do anything with what the encoder answers
            self._give_up(f"fails: {type(error).__name__}: {error}")
            return
        self._plain, self._packed = self._plain + seconds, self._packed + self._clock() - began
        self._tried += 1
        if not outputs_close(found, output, torch.device("cpu")):
            self._give_up("changes the answers")
        elif self._tried == _BATCHES:
            gain = self._plain / max(self._packed, 1e-9)
            if gain < GAINS:
                self._give_up(f"is measured {gain:.2f} times as fast")
            else:
                self._taken = True
                self._on_choice(f"without their padding: measured {gain:.2f} times as fast")

    def _give_up(self, why: str) -> None:
        self._given_up = True
        for encoder in self._encoders:
            vars(encoder).pop("forward", None)
        self._on_choice(f"with their padding: without, the model {why}")

    def _encode(
        self, encoder: nn.TransformerEncoder, plain: Callable[..., Any], src: torch.Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        padding = _padding_of(encoder, src, *args, **kwargs)
        if padding is None:
            return plain(src, *args, **kwargs)
        lengths: list[int] = (~padding).sum(1).tolist()
        tokens, longest = sum(lengths), max(lengths, default=0)
        self.work += tokens if self._packs else padding.numel()
        self._padding += padding.numel() - tokens
        if not self._packs or min(lengths, default=0) == 0 or (tokens == padding.numel() and longest < _LONG):
            return plain(src, *args, **kwargs)
        places = torch.nonzero(~padding.reshape(-1)).squeeze(1)
        hidden = src.reshape(-1, src.shape[2])[places]
        for layer in encoder.layers:
            hidden = _layer(layer, hidden, lengths)
        if encoder.norm is not None:
            hidden = encoder.norm(hidden)
        return torch.zeros_like(src).view(-1, src.shape[2]).index_copy_(0, places, hidden).view(src.shape)


class _Replaced(partial[Any]):
    """A function in place of a bound method, which is its last argument and what copies and pickled ones have instead.

    They are no models that are measured here, and functions within this server's can't be pickled.
    """

    def __reduce__(self) -> Any:
        return self.args[-1].__reduce__()


def unpadded(
    model: Any, tried: Callable[[], None], chosen: Callable[[str], None], clock: Callable[[], float] = time.perf_counter
) -> Unpadded | None:
    """Return the model with its encoders prepared, None if it has none of which this file knows what they do."""
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule) or hasattr(model, "_orig_mod"):
        return None
    encoders = [each for each in model.modules() if type(each) is nn.TransformerEncoder and _is_known(each)]
    return Unpadded(model, encoders, tried, chosen, clock) if encoders else None


def _is_known(encoder: nn.TransformerEncoder) -> bool:
    """Return whether an encoder's layers are torch's own, on a CPU, and nobody looks into them."""
    watched = any(each._forward_hooks or each._forward_pre_hooks for each in encoder.modules())  # noqa: SLF001
    own = "forward" in vars(encoder) or any("forward" in vars(each) for each in encoder.layers)
    return not watched and not own and all(map(_is_plain, encoder.layers))


def _is_plain(layer: Any) -> bool:
    if type(layer) is not nn.TransformerEncoderLayer:
        return False
    attention = layer.self_attn
    return (
        type(attention) is nn.MultiheadAttention
        and attention.batch_first
        and attention.in_proj_weight is not None
        and attention.in_proj_weight.device.type == "cpu"
        and attention.bias_k is None
        and not attention.add_zero_attn
    )


def _padding_of(
    encoder: nn.TransformerEncoder,
    src: torch.Tensor,
    mask: Any = None,
    src_key_padding_mask: Any = None,
    is_causal: Any = None,
) -> torch.Tensor | None:
    """Return which tokens [batch, length] are padding, None if that is not all that the encoder has to heed."""
    padding = src_key_padding_mask
    said = isinstance(padding, torch.Tensor) and padding.dtype == torch.bool and padding.shape == src.shape[:2]
    usual = src.ndim == 3 and src.is_cpu and not src.is_nested and mask is None and not is_causal
    quiet = not torch.is_grad_enabled() and not encoder.training and not torch.is_autocast_enabled("cpu")
    return padding if usual and said and quiet else None


def _layer(layer: Any, hidden: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """Return what the layer makes of the tokens [all, width] of texts of these lengths."""
    if layer.norm_first:
        hidden = hidden + _attend(layer.self_attn, layer.norm1(hidden), lengths)
        return hidden + _feed(layer, layer.norm2(hidden))
    hidden = layer.norm1(hidden + _attend(layer.self_attn, hidden, lengths))
    return layer.norm2(hidden + _feed(layer, hidden))


def _feed(layer: Any, hidden: torch.Tensor) -> torch.Tensor:
    return layer.linear2(layer.activation(layer.linear1(hidden)))


def _attend(attention: nn.MultiheadAttention, hidden: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """Return self-attention within each text."""
    heads, width = attention.num_heads, attention.embed_dim
    projected = functional.linear(hidden, attention.in_proj_weight, attention.in_proj_bias)
    texts = projected.view(len(hidden), 3, 1, heads, width // heads).permute(1, 2, 3, 0, 4).split(lengths, dim=3)
    found = [functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(-1, width) for q, k, v in texts]
    return attention.out_proj(torch.cat(found))
