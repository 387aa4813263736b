"""What the health routes ask the control plane, and the model that a request without one means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from torchserve.core.config.saved_models import SavedModel
from torchserve.core.controlplane import ControlPlane
from torchserve.core.dataplane import DataPlane
from torchserve.core.errors import ArchiveNotFound, Draining, InvalidArchive, ModelNotFound, PackagesFailed
from torchserve.core.gpus.gpu_allocator import GpuAllocator
from torchserve.core.metrics.store import MetricStore
from torchserve.core.models.left_out import LeftOut
from torchserve.core.models.model import Model
from torchserve.core.models.registry import Registry
from torchserve.core.workers.pool import SlotState
from torchserve.scheduler.job import Job

from .doubles import CPU_ONLY, Sink, folder, model, slot
from .house import House

READY, LOADING, WAITING = SlotState.READY, SlotState.LOADING, SlotState.WAITING


def registered(*models: Model) -> Registry:
    registry = Registry()
    for each in models:
        registry.claim(each.name, each.version)
        registry.add(each)
    return registry


def plane(registry: Registry, tmp_path: Path) -> ControlPlane:
    return ControlPlane(CPU_ONLY, registry, MetricStore(), GpuAllocator(0), tmp_path)


@pytest.mark.parametrize(
    ("at_startup", "minimum", "states", "missing", "ready"),
    [
        (True, 1, (READY,), [], True),
        (True, 2, (READY, READY, READY), [], True),
        (True, 2, (READY, LOADING), ['Model "m" version 1.0 has 1 of 2 workers.'], False),
        (True, 1, (WAITING,), ['Model "m" version 1.0 has 0 of 1 workers.'], False),
        (True, 0, (), [], False),
        (False, 1, (LOADING,), [], False),
        (False, 1, (READY,), [], True),
    ],
)
async def test_ready_is_when_every_startup_model_has_its_workers(
    tmp_path: Path, at_startup: bool, minimum: int, states: tuple[SlotState, ...], missing: list[str], ready: bool
) -> None:
    subject = model()
    subject.at_startup = at_startup
    subject.pool.minimum = subject.pool.maximum = minimum
    subject.pool.scaled = True
    subject.pool.slots += [slot(9000 + i, state) for i, state in enumerate(states)]
    control = plane(registered(subject), tmp_path)
    assert (control.missing(), control.ready("m")) == (missing, ready)
    control.begin_drain()
    assert control.missing() == ["The server is stopping.", *missing]


@pytest.mark.parametrize(
    ("minimum", "missing"),
    [
        (2, ['Model "m" version 1.0 has 0 of 2 workers.']),  # registered, and nobody has come to its pool yet
        (0, []),
    ],
)
async def test_before_the_first_scaling_the_options_say_how_many_workers_are_wanted(
    tmp_path: Path, minimum: int, missing: list[str]
) -> None:
    subject = model(min_workers=minimum, max_workers=minimum)
    subject.at_startup = True
    control = plane(registered(subject), tmp_path)
    assert control.missing() == missing
    assert not control.ready("m")
    await subject.pool.scale(0, 0)
    assert control.missing() == []


async def test_an_archive_that_was_left_out_at_start_is_missing_until_its_model_is_registered(tmp_path: Path) -> None:
    house = House(tmp_path)
    folder(house.store, "m")
    house.plane.leave_out("m", InvalidArchive("m is torn at byte 7.\nMore that only the log has."))
    house.plane.leave_out("a-b.mar", OSError(28, "No space left on device"))
    torn = "The archive m could not be loaded at start: m is torn at byte 7."
    full = "The archive a-b.mar could not be loaded at start: [Errno 28] No space left on device"
    assert house.plane.missing() == [full, torn]
    for version in (None, "all"):
        with pytest.raises(ModelNotFound, match=f"^Model not found: m. {torn}$"):
            await house.plane.describe("m", version)
    with pytest.raises(ModelNotFound, match=f"^Model not found: m. {torn}$"):
        house.plane.ready("m")
    with pytest.raises(ModelNotFound, match=r"^Model not found: nobody$"):
        await house.plane.describe("nobody", None)
    await house.register("m", initial_workers=0)
    assert house.plane.missing() == [full]
    await house.register("m", model_name="a_b", initial_workers=0)  # whatever the archive, its model is there
    assert house.plane.missing() == []
    await house.plane.close(0)


def test_of_a_reason_the_first_line_is_shown_and_not_all_of_a_long_one() -> None:
    left_out = LeftOut()
    left_out.add("a.mar", PackagesFailed("x" * 1000))
    left_out.add("b.mar", ValueError())
    long, empty = left_out
    assert long == f"The archive a.mar could not be loaded at start: {'x' * 300}…"
    assert empty == "The archive b.mar could not be loaded at start: ValueError"


async def test_readiness_is_that_of_the_default_version(tmp_path: Path) -> None:
    old, new = model(version="1.0"), model(version="2.0")
    new.pool.slots.append(slot())
    registry = registered(old, new)
    control = plane(registry, tmp_path)
    assert not control.ready("m")
    registry.set_default("m", "2.0")
    assert control.ready("m")
    assert control.model_names() == ["m"]
    with pytest.raises(ModelNotFound):
        control.ready("nobody")


async def test_the_only_model_of_the_start_needs_no_name() -> None:
    first, second, other = model(version="1.0"), model(version="2.0"), model("other")
    registry = registered(first, second, other)
    data = DataPlane(registry, 1 << 30)
    for at_startup, expected in [((first,), "m"), ((first, second), "m"), ((), None), ((first, other), None)]:
        for each in registry:
            each.at_startup = each in at_startup
        assert data.startup_model() == expected


def test_what_failed_is_told_without_what_only_its_url_may_know() -> None:
    left_out = LeftOut()
    url = "https://user:secret@models.example/a/cats.mar?X-Amz-Signature=secret"
    left_out.add(url, ArchiveNotFound(f"Model not found at: {url}"))
    told = "The archive https://models.example/a/cats.mar could not be loaded at start: Model not found at: "
    assert list(left_out) == [f"{told}https://models.example/a/cats.mar"]
    assert told in str(left_out.explained(ModelNotFound("cats"), "cats"))
    left_out.registered(url, "dogs")
    assert list(left_out) == []


def test_a_model_that_was_left_out_is_forgotten_by_its_name() -> None:
    left_out = LeftOut()
    kept = [SavedModel(name="cats", version=version, archive="a.mar") for version in ("1.0", "2.0")]
    for saved in kept:
        left_out.add("a.mar", ArchiveNotFound("gone"), name="cats", saved=saved)
    left_out.add("a.mar", ArchiveNotFound("gone"), name="dogs")
    assert left_out.saved() == kept
    left_out.registered("a.mar", "birds")  # another name for the archive: cats and dogs are still wanted
    assert len(list(left_out)) == 3
    assert left_out.forget("cats")
    assert not left_out.forget("cats")
    assert (list(left_out), left_out.saved()) == (
        ["The archive a.mar of model dogs could not be loaded at start: gone"],
        [],
    )
    left_out.registered("b.mar", "dogs")
    assert list(left_out) == []


@pytest.mark.parametrize(
    ("limit", "queued", "full"), [(0, 10, False), (50, 4, False), (50, 5, True), (100, 9, False), (100, 10, True)]
)
async def test_a_full_queue_counts_where_the_setting_says_so(
    tmp_path: Path, limit: int, queued: int, full: bool
) -> None:
    subject = model(job_queue_size=10)
    registry = registered(subject)
    settings = replace(CPU_ONLY, ready_queue_limit=limit)
    control = ControlPlane(settings, registry, MetricStore(), GpuAllocator(0), tmp_path)
    for _ in range(queued):
        subject.scheduler.submit(Job("r", None, Sink()))
    told = [f'Model "m" version 1.0 has {queued} of 10 requests in its job queue.'] if full else []
    assert control.missing() == told
    subject.scheduler.close(Draining("done"))
