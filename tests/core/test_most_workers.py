"""max_workers_per_model, wherever the number of workers is said: by a scaling, a registration or a snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchserve.core.config.saved_models import SavedModel, SavedModels
from torchserve.core.errors import BadRequest

from .doubles import folder
from .house import House, packed


@pytest.mark.parametrize(
    ("minimum", "maximum", "said"),
    [(1_000_000, None, "min_worker"), (1, 1_000_000, "max_worker"), (2**31 - 1, 2**31 - 1, "min_worker")],
)
async def test_more_workers_than_there_may_be_are_refused_by_name(
    tmp_path: Path, minimum: int, maximum: int | None, said: str
) -> None:
    (tmp_path / "store").mkdir()
    house = House(tmp_path, max_workers_per_model=3)
    folder(house.store, "m")
    await house.register()
    with pytest.raises(
        BadRequest, match=rf"^{said} must be from 0 to 3 \(max_workers_per_model\), not {maximum or minimum}\."
    ):
        await house.plane.scale("m", None, minimum=minimum, maximum=maximum)
    assert (house.registry.get("m").pool.slots, house.registry.get("m").pool.scaled) == ([], False)


async def test_a_snapshot_with_more_workers_than_there_may_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    house = House(tmp_path, max_workers_per_model=3)
    folder(house.store, "m")
    saved = SavedModel(name="m", version="1.0", archive="m", min_workers=1_000_000)
    await house.plane.restore(SavedModels([saved]))
    (told,) = house.plane.missing()
    assert "Model m version 1.0: model_snapshot: minWorkers must be from 0 to 3" in told
    assert (house.names, [*house.plane.saved()]) == ([], [saved])


async def test_a_registration_with_more_workers_than_there_may_be_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    house = House(tmp_path, max_workers_per_model=3)
    packed(house.store, "m")
    with pytest.raises(BadRequest, match=r"^Model m version 1\.0: initial_workers must be from 0 to 3 "):
        await house.register("m.mar", initial_workers=4)
    assert (house.names, [*tmp_path.glob("work/*")]) == ([], [])
