"""Registering under names that are none, and that users have: nothing stays, and what stays can be removed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from torchserve.core.errors import BadRequest, InvalidArchive, WorkersFailed

from .doubles import folder
from .house import House


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    (tmp_path / "store").mkdir()
    made = House(tmp_path)
    yield made
    await made.plane.close(0.0)


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "a\x1b[2J", "n" * 5000, "a/b", "../a", "\u202eevil", "\ud800"])
async def test_a_name_that_is_none_is_refused_and_nothing_stays(house: House, name: str, tmp_path: Path) -> None:
    """NUL hung the registration and the stop; nobody could delete 5,000 characters."""
    folder(house.store, "m")
    with pytest.raises(BadRequest, match=r"^Invalid model name .*(character|it has 5000)"):
        await house.register(model_name=name)
    for position, manifest in enumerate(({"modelName": name}, {"modelVersion": name})):
        folder(house.store, f"x{position}", **manifest)
        with pytest.raises((BadRequest, InvalidArchive)):
            await house.register(f"x{position}")
    assert house.names == []
    assert [*tmp_path.glob("work/*")] == []


async def test_names_that_users_have(house: House) -> None:
    names = ["resnet-50_v1.5", "bert+ner", "modèle", "模型", "my model", "llama:7b", "m@prod", "1", "_x", "n" * 255]
    folder(house.store, "m", modelVersion="2024-01-31T10:00+cu121")
    for name in names:
        await house.register(model_name=name)
    assert sorted(house.names) == sorted(f"{name}/2024-01-31T10:00+cu121" for name in names)
    for name in names:
        await house.plane.unregister(name, None)
    assert house.names == []


async def test_a_worker_that_an_argument_keeps_from_starting_is_no_hang(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    made = House(tmp_path, python="/bin/\0false")
    folder(made.store, "m")
    with pytest.raises(WorkersFailed, match="could not be started: embedded null byte"):
        await made.register(initial_workers=1)
    await made.plane.close(0.0)
