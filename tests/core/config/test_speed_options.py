"""What the yaml asks for its speed: legal values, and what is said of others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchserve.core.config.model_options import Requested, resolve_options
from torchserve.core.config.settings import Settings
from torchserve.core.config.speed_options import CHOICES, chosen, read_integers


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, ""),
        ({"bf16": "auto", "quantize": "dynamic", "compile": "auto", "approximateResize": True}, ""),
        ({"bf16": False, "quantize": False, "compile": False}, ""),
        ({"bf16": True}, "bf16 must be auto or false, not True; it is left out"),
        ({"quantize": "static"}, "quantize must be dynamic or false, not 'static'"),
        ({"approximateResize": 1}, "approximateResize must be true or false, not 1"),
        ({"compile": 0}, "compile must be auto or false, not 0"),
        ({"bf16": "x" * 999}, f"bf16 must be auto or false, not '{'x' * 79}; it is left out"),
        ({"warmUp": {"shape": [32], "below": 30_522}}, ""),
        ({"warmUp": {"shape": [32]}}, "warmUp must be a shape, or have shape and below, not {'shape': [32]}"),
        ({"warmUp": {"shape": [], "below": 9}}, "warmUp.shape must be a list of 1 to 8 whole numbers above 0"),
        ({"warmUp": {"shape": [1 << 20, 1 << 20], "below": 9}}, "whose product is at most 268435456"),
        ({"warmUp": {"shape": [8], "below": 1}}, "warmUp.below must be a whole number from 2 to"),
    ],
)
def test_what_is_said_at_the_registration(config: dict[str, Any], told: str, caplog: pytest.LogCaptureFixture) -> None:
    resolve_options(config, Requested(), Settings())
    assert told in caplog.text
    assert bool(told) == bool(caplog.text)


@pytest.mark.parametrize(
    "value", [None, True, False, 0, 1, 0.5, "", "auto", "Auto", "dynamic", [], ["auto"], {"auto": 1}]
)
@pytest.mark.parametrize("key", CHOICES)
def test_a_choice_is_legal_or_refused_by_name(key: str, value: Any) -> None:
    if any(type(value) is type(each) and value == each for each in CHOICES[key]):
        assert chosen({key: value}, key) is value
    else:
        with pytest.raises(ValueError, match=f"^{key} must be "):
            chosen({key: value}, key)


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(["shape", "below", 3]), st.integers() | st.lists(st.integers(), max_size=9)))
def test_integers_are_read_or_refused_by_name(said: dict[Any, Any]) -> None:
    try:
        shape, below = read_integers(said)
    except ValueError as error:
        assert str(error).startswith("warmUp")
    else:
        assert min(shape) > 0
        assert below > 1
