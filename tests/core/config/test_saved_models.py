"""SavedModels: what TorchServe and people write as model_snapshot, and back again without a loss."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.config.saved_models import SavedModel, SavedModels

# As TorchServe 0.12 wrote it.
TORCHSERVE = """{
  "name": "20261123105213148-snapshot.cfg", "modelCount": 2, "created": 1795431133148,
  "models": {
    "echo": {
      "1.0": {"defaultVersion": false, "marName": "echo1.0.mar", "minWorkers": 1, "maxWorkers": 2, "batchSize": 3,
              "maxBatchDelay": 20, "responseTimeout": 120, "startupTimeout": 7, "runtimeType": "python3"},
      "2.0": {"defaultVersion": true, "marName": "echo2.0.mar", "minWorkers": 0, "maxWorkers": 0, "batchSize": 1,
              "maxBatchDelay": 100, "responseTimeout": 120, "startupTimeout": 120, "runtimeType": "python"}
    }
  }
}"""
names = st.text(min_size=1, max_size=8)
numbers = st.none() | st.integers(1, 2**31 - 1)
versions = st.builds(
    SavedModel,
    name=names,
    version=names,
    archive=names,
    default=st.booleans(),
    min_workers=numbers,
    max_workers=numbers,
    batch_size=numbers,
    max_batch_delay=numbers,
    response_timeout=numbers,
    startup_timeout=numbers,
    runtime=st.none() | names,
    url=st.none() | names,
    handler=st.none() | names,
    downloaded=st.booleans(),
)


def test_what_torchserve_wrote() -> None:
    assert SavedModels.parse(TORCHSERVE) == (
        SavedModel(
            name="echo", version="1.0", archive="echo1.0.mar", min_workers=1, max_workers=2, batch_size=3,
            max_batch_delay=20, response_timeout=120, startup_timeout=7, runtime="python3",
        ),
        SavedModel(
            name="echo", version="2.0", archive="echo2.0.mar", default=True, min_workers=0, max_workers=0, batch_size=1,
            max_batch_delay=100, response_timeout=120, startup_timeout=120, runtime="python",
        ),
    )  # fmt: skip


@given(st.lists(versions, unique_by=lambda model: (model.name, model.version)))
def test_there_and_back(models: list[SavedModel]) -> None:
    saved = SavedModels(models)
    assert sorted(SavedModels.parse(str(saved)), key=repr) == sorted(saved, key=repr)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"marName": "a"}, SavedModel(name="m", version="1", archive="a")),
        ({"marName": "a", "batchSize": 0}, SavedModel(name="m", version="1", archive="a")),
        ({"marName": "a", "minWorkers": 0}, SavedModel(name="m", version="1", archive="a", min_workers=0)),
        ({"marName": "a", "maxWorkers": 2.0}, SavedModel(name="m", version="1", archive="a", max_workers=2)),
        ({"marName": "a", "somethingNew": [1]}, SavedModel(name="m", version="1", archive="a")),
    ],
)
def test_what_is_left_out_is_left_to_the_archive(entry: dict[str, object], expected: SavedModel) -> None:
    assert SavedModels.parse(json.dumps({"models": {"m": {"1": entry}}})) == (expected,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is no JSON"),
        (TORCHSERVE[:-3], "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ("[]", r"it must be a JSON object, not \[\]"),
        ('{"models": []}', "its models must be a JSON object"),
        ('{"models": {"m": 1}}', "model m must be a JSON object, not 1"),
        ('{"models": {"m": {"1": 1}}}', "model m version 1 must be a JSON object"),
        ('{"models": {"m": {"1": {}}}}', "model m version 1: marName, the name of its archive, is missing"),
        ('{"models": {"m": {"1": {"marName": 1}}}}', "marName must be a text, not 1"),
        ('{"models": {"m": {"1": {"marName": "a", "batchSize": "b"}}}}', 'batchSize must be a whole number.*not "b"'),
        ('{"models": {"m": {"1": {"marName": "a", "minWorkers": 1.5}}}}', "minWorkers must be a whole number"),
        ('{"models": {"m": {"1": {"marName": "a", "minWorkers": true}}}}', "minWorkers must be a whole number"),
        ('{"models": {"m": {"1": {"marName": "a", "minWorkers": 1e99}}}}', "minWorkers must be a whole number"),
        ('{"models": {"m": {"1": {"marName": "a", "minWorkers": NaN}}}}', "minWorkers must be a whole number"),
        ('{"models": {"m": {"1": {"marName": "a", "minWorkers": Infinity}}}}', "minWorkers must be a whole number"),
    ],
)
def test_what_can_not_be_followed_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SavedModels.parse(text)
