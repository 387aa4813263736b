"""Batches whose workers pad them: up or down, whichever clears the queue sooner."""

from __future__ import annotations

from typing import Any

import pytest

from torchserve.scheduler.policy import BatchPolicy

from .test_batcher import QUICK, Script

PADDED = {**QUICK, "padded_sizes": (1, 2, 4)}
TABLE: dict[str, tuple[dict[str, Any], str]] = {
    "padded up where that is cheaper": (
        PADDED,
        "0 learn 1=0.5 2=0.6 4=0.7; 0 offer a; 0 offer b; 0 offer c; 0 ready r; 0 collect r:abc free_worker",
    ),
    "trimmed down where that is, and the rest stays": (
        PADDED,
        "0 learn 1=0.5 2=0.6 4=1.5; 0 offer a; 0 offer b; 0 offer c; 0 ready r; 0 collect r:ab full;"
        "1 ready r; 1 collect r:c free_worker",
    ),
    "what a rest costs padded counts": (
        {**PADDED, "padded_sizes": (2, 4)},
        "0 learn 2=0.8 4=1.5; 0 offer a; 0 offer b; 0 offer c; 0 ready r; 0 collect r:abc free_worker",
    ),
    "eager has all that is there padded up": (
        {**PADDED, "rule": "eager"},
        "0 learn 1=0.5 2=0.6 4=1.5; 0 offer a; 0 offer b; 0 offer c; 0 ready r; 0 collect r:abc free_worker",
    ),
    "a deadline is met by what is not padded up": (
        PADDED,
        "0 learn 1=0.5 2=0.6 4=0.7; 0 offer a by 1; 0 offer b by 0.65; 0 offer c by 2; 0 ready r;"
        "0 collect r:ab deadline",
    ),
}


@pytest.mark.parametrize(("policy", "lines"), TABLE.values(), ids=TABLE)
def test_padded(policy: dict[str, Any], lines: str):
    script = Script(BatchPolicy(**policy))
    for line in lines.split(";"):
        script.play(line)
