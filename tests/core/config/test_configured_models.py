"""The key `models`: TorchServe's JSON, what it may hold, and what is named as wrong."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.config.configured_models import ConfiguredModel, ConfiguredModels


def one(**entry: Any) -> ConfiguredModel:
    return ConfiguredModels.parse(json.dumps({"m": {"1.0": entry}})).find("m", "1.0")


def test_all_that_torchserve_documents() -> None:
    text = """ {"m": {"1.0": {"defaultVersion": true, "marName": "m.mar", "minWorkers": 1, "maxWorkers": 2,
        "batchSize": 4, "maxBatchDelay": 100, "responseTimeout": 120, "startupTimeout": 60, "runtimeType": "python",
        "parallelLevel": 1}, "2": {}}, "n": {}} """
    models = ConfiguredModels.parse(text)
    assert str(models) == text.strip()
    assert models.remarks == ()
    assert models.find("m", "1.0") == ConfiguredModel(
        default=True, min_workers=1, max_workers=2, batch_size=4, max_batch_delay=100, response_timeout=120,
        startup_timeout=60,
    )  # fmt: skip
    for name, version in [("m", "2"), ("m", "3"), ("n", "1.0"), ("x", "1.0")]:
        assert models.find(name, version) == ConfiguredModel()


@pytest.mark.parametrize(
    ("value", "number"), [(3, 3), ("4", 4), (2.0, 2), (0, None), (-7, None), (None, None), (2**31 - 1, 2**31 - 1)]
)
def test_numbers(value: object, number: int | None) -> None:
    assert one(batchSize=value) == ConfiguredModel(batch_size=number)


@pytest.mark.parametrize("value", ["x", "", 1.5, True, [1], {}, 2**31, math.inf, math.nan, 10**400])
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(ValueError, match=r"^model m version 1.0: batchSize must be a whole number below 2\^31, not "):
        one(batchSize=value)


@pytest.mark.parametrize(("value", "default"), [(True, True), ("true", True), (False, False), ("yes", False)])
def test_the_default_version(value: object, default: bool) -> None:
    assert one(defaultVersion=value).default is default


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{bad", "it is no JSON: Expecting property name"),
        ("[" * 100_000, "it is no JSON: "),
        ("[]", r"it must be a JSON object, not \[\]"),
        ('{"m": 1}', "model m must be a JSON object, not 1"),
        ('{"m": {"1.0": null}}', "model m version 1.0 must be a JSON object, not null"),
    ],
)
def test_what_is_wrong_is_named(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}"):
        ConfiguredModels.parse(text)


def test_remarks() -> None:
    models = ConfiguredModels.parse('{"m": {"1": {"minWorker": 1, "zzz": 1, "minWorkers": 3, "maxWorkers": 2}}}')
    assert models.remarks == (
        "model m version 1: unknown key minWorker is ignored; did you mean minWorkers?",
        "model m version 1: unknown key zzz is ignored",
        "model m version 1: maxWorkers=2 is less than minWorkers=3, which counts for both",
    )


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["m", "1", "batchSize"]), inner),
)


@given(_ANY)
def test_any_json_is_models_or_a_value_error(document: object) -> None:
    try:
        models = ConfiguredModels.parse(json.dumps(document))
    except ValueError:
        return
    assert all(isinstance(entry, ConfiguredModel) for entry in models.entries.values())
