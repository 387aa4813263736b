"""Which batcher serves a policy. Pure."""

from __future__ import annotations

from .batcher import Batcher
from .length_batcher import LengthBatcher
from .policy import BatchPolicy
from .sequence_batcher import SequenceBatcher
from .token_batcher import TokenBatcher


def batcher_of(policy: BatchPolicy) -> Batcher | SequenceBatcher | TokenBatcher:
    """Return a new batcher for the policy."""
    if policy.tokens is not None:
        return TokenBatcher(policy)
    if policy.continuous or policy.sequences is not None:
        return SequenceBatcher(policy)
    # Only `adaptive` learns what batches take. Where clients take turns, the turn decides who is next.
    by_length = policy.length_classes > 1 and policy.rule == "adaptive" and policy.shares is None
    return LengthBatcher(policy) if by_length else Batcher(policy)
