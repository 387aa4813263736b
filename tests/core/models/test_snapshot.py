"""Snapshot: TorchServe's file, and that a part of one is never taken for a whole."""

from __future__ import annotations

import javaproperties
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from torchserve.core.config.saved_models import SavedModel, SavedModels
from torchserve.core.models.snapshot import KEY, Snapshot, created_at, is_whole, name_of

MODELS = SavedModels(
    [SavedModel(name="e", version="1.0", archive="e.mar", default=True, min_workers=2, max_workers=2, runtime="python")]
)
# As TorchServe 0.12 wrote it, in Java's hash order.
TORCHSERVE = rb"""#Saving snapshot
#Mon Nov 23 10:47:18 UTC 2026
inference_address=http\://127.0.0.1\:31100
load_models=e\=echo1.0.mar
model_snapshot={\n  "name"\: "20261123104718907-startup.cfg",\n  "modelCount"\: 1,\n  "created"\: 1795430838908,\n  "models"\: {\n    "e"\: {\n      "1.0"\: {\n        "defaultVersion"\: true,\n        "marName"\: "echo1.0.mar",\n        "minWorkers"\: 2,\n        "maxWorkers"\: 2,\n        "batchSize"\: 1,\n        "maxBatchDelay"\: 100,\n        "responseTimeout"\: 120,\n        "startupTimeout"\: 120,\n        "runtimeType"\: "python"\n      }\n    }\n  }\n}
enable_model_api=true
version=0.12.0
"""


@given(
    st.dictionaries(st.text(min_size=1), st.text()),
    st.builds(SavedModel, name=st.text(min_size=1), version=st.text(min_size=1), archive=st.text(min_size=1)),
    st.integers(10**12, 2 * 10**12),
)
def test_there_and_back(properties: dict[str, str], model: SavedModel, created: int) -> None:
    data = Snapshot(properties, SavedModels([model])).text(name_of("snapshot", created), created).encode("ascii")
    assert is_whole(data)
    assert created_at(data) == created
    found = javaproperties.loads(data)
    assert SavedModels.parse(found[KEY]) == (model,)
    assert {key: text for key, text in found.items() if key not in {KEY, "version"}} == {
        key: text for key, text in properties.items() if key not in {KEY, "version"}
    }


def test_no_part_of_a_snapshot_is_a_whole_one() -> None:
    data = Snapshot({"model_store": "a\nb", "x": "\\"}, MODELS).text("n", 1).encode()
    assert is_whole(data)
    assert [length for length in range(len(data)) if is_whole(data[:length])] == []


@given(st.integers(0, 5000), st.integers(0, 5000))
@example(0, 0)
def test_blocks_that_never_reached_the_disk(start: int, length: int) -> None:
    data = Snapshot({"a": "b" * 1000}, MODELS).text("n", 1).encode()
    start = min(start, len(data) - 1)
    torn = data[:start] + bytes(len(data[start : start + length])) + data[start + length :]
    if is_whole(torn):  # then the models at least are as they were
        assert SavedModels.parse(javaproperties.loads(torn)[KEY]) == MODELS


def test_torchserves_own() -> None:
    assert is_whole(TORCHSERVE)
    assert created_at(TORCHSERVE) == 1795430838908
    parts = [TORCHSERVE[:length] for length in range(len(TORCHSERVE)) if TORCHSERVE[:length][-1:] != b"\n"]
    assert not any(map(is_whole, parts))


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"a=b\n", b"model_snapshot=\n", b"model_snapshot={\n", b"model_snapshot=\\u12\n", b"\xff=\n"]
)
def test_other_files(data: bytes) -> None:
    assert not is_whole(data)
    assert created_at(data) is None


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert name_of("startup", 1795430838007) == "20261123194718007-startup.cfg"
    finally:
        monkeypatch.undo()
        time.tzset()
