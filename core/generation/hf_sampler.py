"""HfSampler: chooses the next token of each sequence of a batch, in place of transformers' logits processors.

transformers' own processors for continuous batching sort the whole vocabulary twice for each sequence and step,
whatever it asks for, and draw for all sequences from one source of randomness. Here a row is only touched if its
request asks for something: the manager takes the likeliest token of each row, so a greedy row stays as the model wrote
it. A drawn token is the likeliest one once noise is added: with E drawn from the exponential distribution,
`logit / temperature - log(E)` is largest at each token with just its probability. A request with a seed has a generator
of its own.

The manager calls an HfSampler on its thread: `prepare_tensor_args` with the requests of a step, then the sampler itself
with their logits. Both must alternate, as they do without CUDA graphs and without asynchronous batching. The first of
these calls is all that is heard of a step before it is computed, so it is told on by `begun`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .engine import Sampling, TokenLogprob

_NUCLEUS = 256  # tokens that are looked at first, which are enough for most nuclei


class Choosing:
    """The wishes of one sequence, and what was found for it. `error` says why its constraint can't be kept to."""

    def __init__(self, sampling: Sampling, device: torch.device) -> None:
        self.sampling = sampling
        self.logprobs: list[TokenLogprob] = []
        self.error = ""
        self._counts: dict[int, int] = {}
        self._generator: torch.Generator | None = None
        if sampling.seed is not None:
            self._generator = torch.Generator(device)
            self._generator.manual_seed(sampling.seed)

    def choose(self, row: torch.Tensor) -> int:
        """Return the next token by its logits, which are changed."""
        asked = self.sampling
        told = None if asked.logprobs is None else row.log_softmax(-1)
        self._weigh(row)
        if asked.constraint is not None and not self.error:
            self._constrain(row)
        if asked.temperature > 0:
            row.div_(asked.temperature)
            if asked.top_p < 1:
                _cut(row, asked.top_p)
            row.sub_(torch.empty_like(row).exponential_(generator=self._generator).log_())
        token = int(row.argmax())
        if told is not None:
            self.logprobs.append(_told(told, token, asked.logprobs or 0))
        if asked.presence or asked.frequency:
            self._counts[token] = self._counts.get(token, 0) + 1
        if asked.constraint is not None and not self.error:
            asked.constraint.accept(token)
        return token

    def _weigh(self, row: torch.Tensor) -> None:
        asked = self.sampling
        weights = dict(asked.bias)
        for token, count in self._counts.items():
            weights[token] = weights.get(token, 0.0) - asked.presence - asked.frequency * count
        if weights:
            tokens = torch.tensor(list(weights), device=row.device)
            row.index_add_(0, tokens, torch.tensor(list(weights.values()), device=row.device, dtype=row.dtype))

    def _constrain(self, row: torch.Tensor) -> None:
        assert self.sampling.constraint is not None
        try:
            mask = bytearray(self.sampling.constraint.allowed())
        except ValueError as error:
            self.error = str(error)
            return
        packed = torch.frombuffer(mask, dtype=torch.uint8)
        bits = packed.unsqueeze(-1).bitwise_right_shift(_SHIFTS).bitwise_and_(1).flatten()[: row.numel()]
        forbidden = torch.ones(row.numel(), dtype=torch.bool)  # logits beyond the vocabulary are padding
        forbidden[: bits.numel()] = bits == 0
        row.masked_fill_(forbidden.to(row.device), -torch.inf)


_SHIFTS = torch.arange(8, dtype=torch.uint8)


class HfSampler:
    """A stand-in for the list of logits processors that a manager has.

    `begun` is called before each step, with the number of its sequences and of the tokens that it computes.
    """

    tensors_required = 1  # of the manager's storage for arguments, which isn't used

    def __init__(self, begun: Callable[[int, int], None] = lambda *_: None) -> None:
        self._begun = begun
        self._choosing: dict[str, Choosing] = {}
        self._rows: list[Choosing | None] = []

    def add(self, request_id: str, choosing: Choosing) -> None:
        """Choose for this request in its way; one that was not added gets the likeliest tokens."""
        if not choosing.sampling.plain:
            self._choosing[request_id] = choosing

    def remove(self, request_id: str) -> None:
        """Forget a request."""
        self._choosing.pop(request_id, None)

    def __len__(self) -> int:
        return len(self._choosing)

    @property
    def do_processing(self) -> bool:
        """Whether a row of the next logits is not to be left as the model wrote it."""
        return bool(self._rows)

    def check_kwargs(self, kwargs: dict[str, Any]) -> None:
        """Accept the arguments of a request, which has none here."""

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        """Fill the manager's storage."""
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_in_batch: Sequence[Any], arg_storage: torch.Tensor) -> torch.Tensor:
        """Note which sequences the rows of the next logits belong to."""
        self._begun(len(requests_in_batch), sum(each.query_length for each in requests_in_batch))
        self._rows = []
        if self._choosing:
            rows = [self._choosing.get(each.state.request_id) for each in requests_in_batch if each.has_new_token]
            self._rows = rows if any(rows) else []
        return arg_storage

    def __call__(self, _input_ids: torch.Tensor, scores: torch.Tensor, _arguments: torch.Tensor) -> torch.Tensor:
        """Return logits of which the largest of each row is the token to take."""
        for index, choosing in enumerate(self._rows):
            if choosing is not None:
                row = scores[index].clone()
                token = choosing.choose(row)
                scores[index, token] = torch.inf
        return scores


def _cut(row: torch.Tensor, top_p: float) -> None:
    """Leave the likeliest tokens that together have the probability `top_p`."""
    shares = row.softmax(-1)
    size = min(_NUCLEUS, row.numel())
    likeliest = shares.topk(size).values
    if float(likeliest.sum()) < top_p and size < row.numel():
        likeliest = shares.sort(descending=True).values
    inside = int((likeliest.cumsum(0) < top_p).sum())
    row.masked_fill_(shares < likeliest[min(inside, likeliest.numel() - 1)], -torch.inf)


def _told(logprobs: torch.Tensor, token: int, count: int) -> TokenLogprob:
    if not count:
        return TokenLogprob(float(logprobs[token]))
    found = logprobs.topk(min(count, logprobs.numel()))
    return TokenLogprob(float(logprobs[token]), tuple(zip(found.indices.tolist(), found.values.tolist(), strict=True)))
