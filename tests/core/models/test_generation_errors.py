"""What a client reads when its request for text is refused or ended: both numbers, and the setting's name."""

from __future__ import annotations

import pytest

from torchserve.core.config.model_options import ModelOptions
from torchserve.core.errors import ContextExceeded, GenerationExpired
from torchserve.core.models.generation_errors import generation_error
from torchserve.http.message.errors import row
from torchserve.scheduler.errors import AnswerLate, FirstTokenLate, GenerationLate, Stalled, TooManyTokens

OPTIONS = ModelOptions(first_token=2000, per_token=300, latency_slo=900)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FirstTokenLate(2.1, 2.0, 0), ["no first token", "2100 ms", "timeToFirstTokenMs=2000"]),
        (Stalled(0.31, 0.3, 7), ["7 tokens", "310 ms", "timePerTokenMs=300"]),
        (AnswerLate(5.0, 5.0, 9), ["5000 ms", "9 tokens", "x-request-timeout-ms=5000"]),
        (AnswerLate(0.9, 0.9, 9), ["latencySlo=900"]),
    ],
)
def test_what_is_late(error: GenerationLate, words: list[str]) -> None:
    found = generation_error(error, 'Model "m" version 1.0', OPTIONS)
    assert isinstance(found, GenerationExpired)
    assert row(found)[0] == 504
    assert all(word in found.message for word in ['Model "m" version 1.0', *words])


def test_what_never_fits() -> None:
    found = generation_error(TooManyTokens(11, 10), 'Model "m" version 1.0', OPTIONS)
    assert isinstance(found, ContextExceeded)
    assert row(found)[0] == 400
    assert "11" in found.message
    assert "10" in found.message
