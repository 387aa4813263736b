"""Hypothesis's settings for all tests, of which none may fail because the machine is slow.

`HYPOTHESIS_PROFILE=ci` draws the same examples each time, so that a commit passes or doesn't; the default, dev, draws others each
time and keeps what failed in `.hypothesis/`; fast, of `make test-fast`, does the same with a quarter of the examples.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "ci", settings.get_profile("dev"), max_examples=40, derandomize=True, database=None, print_blob=True
)
settings.register_profile("fast", settings.get_profile("dev"), max_examples=25)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
