"""Every number that a model's options may be given has a range, and what is outside of it is told by key, value and range.
Those of the management API are in tests/http/api/test_management.py, and of config.properties in test_settings.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from torchserve.core.config.configured_models import ConfiguredModels
from torchserve.core.config.model_options import ModelOptions, Requested, resolve_options
from torchserve.core.config.saved_models import SavedModels
from torchserve.core.config.settings import Settings
from torchserve.core.config.version_numbers import KEYS
from torchserve.core.errors import BadRequest

MOST = 2**31 - 1
SEVEN = replace(Settings(), max_workers_per_model=7)

# key of model-config.yaml -> the range that is told
YAML = {
    "minWorkers": (1, MOST), "maxWorkers": (1, MOST), "batchSize": (1, MOST), "maxBatchDelay": (0, MOST),
    "responseTimeout": (1, MOST), "startupTimeout": (1, MOST), "maxRetryTimeoutInSec": (1, MOST),
    "clientTimeoutInMills": (0, MOST), "latencySlo": (0, MOST), "jobQueueSize": (1, MOST), "scaleDownAfter": (1, MOST),
    "minResidency": (0, MOST), "threads": (1, 4096),
}  # fmt: skip
SEQUENCES = {"maxNumSequence": 1, "maxSequenceJobQueueSize": 1, "sequenceMaxIdleMSec": 0, "sequenceTimeoutMSec": 0}
TORCHRUN = {
    "nnodes": (1, MOST), "nproc-per-node": (1, 127), "node-rank": (0, MOST), "monitor-interval": (1, MOST),
    "OMP_NUMBER_THREADS": (1, 4096),
}  # fmt: skip


def options(config: dict[str, Any], settings: Settings = SEVEN, **asked: int) -> ModelOptions:
    return resolve_options(config, Requested(**asked), settings)


@pytest.mark.parametrize("key", YAML)
def test_a_number_of_the_yaml(key: str, caplog: pytest.LogCaptureFixture) -> None:
    low, high = YAML[key]
    assert options({key: high + 1}) == options({})
    assert f"{key} must be a whole number from {low} to {high}, not {high + 1}; the default is used" in caplog.text
    options({key: 10**4000})  # and nothing that long is told
    assert len(caplog.text) < 1000
    caplog.clear()
    options({key: low})
    assert caplog.text == ""


@pytest.mark.parametrize("key", SEQUENCES)
def test_a_number_of_a_stateful_model(key: str, caplog: pytest.LogCaptureFixture) -> None:
    low = SEQUENCES[key]
    for wrong in (low - 1, MOST + 1):
        assert options({"sequenceBatching": True, key: wrong}) == options({"sequenceBatching": True})
        assert f"{key} must be a whole number from {low} to {MOST}, not {wrong}; it is ignored" in caplog.text


@pytest.mark.parametrize("key", TORCHRUN)
def test_a_number_of_torchrun(key: str, caplog: pytest.LogCaptureFixture) -> None:
    low, high = TORCHRUN[key]
    for wrong in (low - 1, high + 1):
        assert options({"parallelType": "tp", "torchrun": {key: wrong}}) == options({"parallelType": "tp"})
        assert f"torchrun.{key} must be a whole number from {low} to {high}, not {wrong}" in caplog.text


@pytest.mark.parametrize("wrong", [0, 128, 1_000_000])
def test_the_level_of_a_parallel_model(wrong: int, caplog: pytest.LogCaptureFixture) -> None:
    parallel = options({"parallelType": "tp", "parallelLevel": wrong}).parallel
    assert parallel is not None
    assert parallel.level == 1
    assert f"parallelLevel must be a whole number from 1 to 127, not {wrong}; 1 is used" in caplog.text


@pytest.mark.parametrize("key", KEYS.values())
@pytest.mark.parametrize("wrong", [MOST + 1, -MOST - 2, 1.5, True])
def test_a_number_of_the_key_models_and_of_a_snapshot(key: str, wrong: float) -> None:
    said = f"{key} must be a whole number below 2\\^31, not {json.dumps(wrong)}"
    with pytest.raises(ValueError, match=said):
        ConfiguredModels.parse(json.dumps({"m": {"1.0": {key: wrong}}}))
    with pytest.raises(ValueError, match=said):
        SavedModels.parse(json.dumps({"models": {"m": {"1.0": {"marName": "m.mar", key: wrong}}}}))


@pytest.mark.parametrize(
    ("config", "models", "asked", "key"),
    [
        ({"minWorkers": 8, "maxWorkers": 8}, {}, {}, "model-config.yaml: minWorkers"),
        ({"minWorkers": 1, "maxWorkers": 8}, {}, {}, "model-config.yaml: maxWorkers"),
        ({}, {}, {"initial_workers": 8}, "initial_workers"),
        ({}, {"minWorkers": 8}, {}, "models: minWorkers"),
        ({}, {"maxWorkers": 8}, {}, "models: maxWorkers"),
    ],
)
def test_more_workers_than_there_may_be(
    config: dict[str, Any], models: dict[str, int], asked: dict[str, int], key: str
) -> None:
    configured = ConfiguredModels.parse(json.dumps({"m": {"1.0": models}})).find("m", "1.0")
    with pytest.raises(BadRequest) as caught:
        resolve_options(config, Requested(**asked), SEVEN, configured)
    assert caught.value.message.startswith(f"{key} must be from 0 to 7 (max_workers_per_model), not 8. Ask for fewer")


def test_as_many_as_there_may_be_are_taken() -> None:
    assert options({"minWorkers": 7, "maxWorkers": 7}).max_workers == 7
    assert options({}, initial_workers=7).min_workers == 7
    assert options({"minWorkers": 1, "maxWorkers": 2}, initial_workers=8).max_workers == 2  # the yaml's count


def test_without_the_setting_there_may_be_more_than_anybody_needs() -> None:
    assert Settings().most_workers >= 64
