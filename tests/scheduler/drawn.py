"""How many examples hypothesis draws, as a multiple of what its profile says: 100 of each, or 25 by `make test-fast`."""

from __future__ import annotations

from hypothesis import settings


def examples(times: float, steps: int = 50) -> settings:
    """Return settings for `times` the profile's examples, of at most `steps` steps where a state machine takes them."""
    return settings(max_examples=int(times * settings().max_examples), stateful_step_count=steps)
