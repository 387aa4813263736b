"""The key `models` at work: it counts for a model however that comes to be loaded."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from torchserve.core.config.configured_models import ConfiguredModels

from .doubles import folder
from .house import House


@pytest.fixture
async def house(tmp_path: Path):
    (tmp_path / "store").mkdir()
    said = {"m": {"1.0": {"batchSize": 4, "responseTimeout": 33}, "2.0": {"defaultVersion": True, "batchSize": 2}}}
    made = House(tmp_path, models=ConfiguredModels.parse(json.dumps(said)))
    for version in ("1.0", "2.0"):
        folder(made.store, f"m{version}", modelName="m", modelVersion=version)
    yield made
    await made.plane.close(0.0)


async def test_a_registration_is_run_as_models_says(house: House) -> None:
    await house.register("m1.0")
    options = house.registry.get("m").options
    assert (options.batch_size, options.response_timeout) == (4, 33)
    await house.register("m2.0", batch_size=9)
    assert house.registry.get("m", "2.0").options.batch_size == 9
    assert house.registry.get("m").version == "1.0", "a registration never takes the default from another version"


async def test_how_many_workers_a_registration_gets_it_says_itself(tmp_path: Path) -> None:
    said = ConfiguredModels.parse('{"m": {"1.0": {"minWorkers": 2, "maxWorkers": 3, "batchSize": 4}}}')
    house = House(tmp_path, models=said)
    folder(house.store, "m", modelName="m", modelVersion="1.0")
    await house.register("m")
    options = house.registry.get("m").options
    assert (options.min_workers, options.max_workers, options.batch_size) == (0, 0, 4)
    await house.plane.close(0.0)


async def test_what_is_loaded_under_another_name_is_another_model(house: House) -> None:
    await house.register("m1.0", model_name="other")
    assert house.registry.get("other").options.batch_size == 1


@pytest.mark.parametrize("order", [("m1.0", "m2.0"), ("m2.0", "m1.0")])
async def test_the_default_version_of_the_start(house: House, order: tuple[str, str]) -> None:
    for url in order:
        await house.plane.load_at_startup(url, None, 0)
    await asyncio.sleep(0)
    assert house.registry.get("m").version == "2.0"
    assert house.registry.get("m").options.batch_size == 2
