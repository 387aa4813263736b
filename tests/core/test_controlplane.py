"""Management: TorchServe's answers, and no trace of what failed. Workers are real processes where a test needs one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from torchserve.core.controlplane import Outcome
from torchserve.core.dataplane import DataPlane
from torchserve.core.errors import (
    AlreadyRegistered,
    ArchiveNotFound,
    BadRequest,
    DefaultVersionInUse,
    InvalidArchive,
    ModelNotFound,
    NoWorker,
    ServeError,
    VersionNotFound,
    WorkersFailed,
)
from torchserve.core.payload import Part, Payload
from torchserve.core.workers.pool import SlotState

from .doubles import Sink, folder, slot, until
from .house import House, packed

ENDS_AT_ONCE = "/bin/false"  # for the interpreter of workers: a worker that dies before it loads


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    (tmp_path / "store").mkdir()
    made = House(tmp_path)
    yield made
    await made.plane.close(0.0)
    assert [*tmp_path.glob("work/*")] == []


@pytest.fixture
async def barren(tmp_path: Path) -> AsyncIterator[House]:
    """One whose workers never come to load anything."""
    (tmp_path / "store").mkdir()
    made = House(tmp_path, python=ENDS_AT_ONCE)
    yield made
    await made.plane.close(0.0)
    assert [*tmp_path.glob("work/*")] == []


# ---- registering


async def test_without_workers(house: House) -> None:
    folder(house.store, "m", config="batchSize: 3\n")
    assert await house.register(max_batch_delay=9) == Outcome(
        'Model "m" Version: 1.0 registered with 0 initial workers. Use scale workers API to add workers for the model.'
    )
    (entry,) = await house.plane.describe("m", None)
    assert (entry["batchSize"], entry["maxBatchDelay"], entry["workers"], entry["loadedAtStartup"]) == (3, 9, [], False)


async def test_versions_and_the_default(house: House) -> None:
    for version in ("1.0", "2.0"):
        folder(house.store, f"v{version}", modelName="m", modelVersion=version)
        await house.register(f"v{version}")
    assert [entry["modelVersion"] for entry in await house.plane.describe("m", "all")] == ["1.0", "2.0"]
    assert await house.plane.set_default("m", "2.0") == Outcome(
        'Default version successfully updated for model "m" to "2.0"'
    )
    assert [entry["modelVersion"] for entry in await house.plane.describe("m", None)] == ["2.0"]
    with pytest.raises(DefaultVersionInUse):
        await house.plane.unregister("m", None)
    assert await house.plane.unregister("m", "1.0") == Outcome('Model "m" unregistered')
    assert await house.plane.unregister("m", None) == Outcome('Model "m" unregistered')
    assert house.names == []


@pytest.mark.parametrize(
    ("request_name", "manifest_name", "name"),
    [("asked", "told", "asked"), (None, "told", "told"), ("asked", None, "asked")],
)
async def test_whose_name_counts(house: House, request_name: str | None, manifest_name: str | None, name: str) -> None:
    folder(house.store, "file.x", modelName=manifest_name)
    await house.register("file.x", model_name=request_name)
    assert house.names == [f"{name}/1.0"]


async def test_only_at_the_start_a_file_may_give_the_name(house: House) -> None:
    folder(house.store, "file.x", modelName=None)
    with pytest.raises(
        InvalidArchive, match=r"^Model name is not defined\. file\.x has no manifest; give model_name\.$"
    ):
        await house.register("file.x")
    await house.plane.load_at_startup("file.x", None, 0)
    assert house.names == ["file_x/1.0"]


@pytest.mark.parametrize(
    ("asked", "told", "default", "handler"),
    [("a.py", "t.py", "d.py", "a.py"), (None, "t.py", "d.py", "t.py"), (None, None, "d.py", "d.py")],
)
async def test_whose_handler_counts(
    tmp_path: Path, asked: str | None, told: str | None, default: str, handler: str
) -> None:
    (tmp_path / "store").mkdir()
    house = House(tmp_path, default_service_handler=default)
    folder(house.store, "m", handler=told)
    await house.register(handler=asked)
    assert house.registry.get("m").pool._launcher.load.handler == handler


async def test_a_model_without_any_handler(house: House) -> None:
    folder(house.store, "m", handler=None)
    with pytest.raises(InvalidArchive, match=r"^Model m names no handler"):
        await house.register()
    assert house.names == []
    folder(house.store, "other")
    await house.register("other", model_name="m")  # the name is free again


@pytest.mark.parametrize("runtime", ["python", "python3", "LSP", None])
async def test_runtimes(house: House, runtime: str | None) -> None:
    folder(house.store, "m")
    assert (await house.register(runtime=runtime)).done


@pytest.mark.parametrize(
    ("wanted", "error", "text"),
    [
        ({"runtime": "python4"}, BadRequest, "^Invalid RuntimeType value: python4$"),
        ({"url": "gone"}, ArchiveNotFound, "^Model not found at: gone$"),
        ({"url": "torn.mar"}, InvalidArchive, r"^torn\.mar: "),
        ({"url": "file:///etc/hostname"}, ArchiveNotFound, "does not match any allowed URL"),
    ],
)
async def test_what_is_refused_leaves_nothing(
    house: House, wanted: dict[str, str], error: type[ServeError], text: str
) -> None:
    folder(house.store, "m")
    (house.store / "torn.mar").write_bytes(b"PK\x03\x04 torn")
    before = sorted(house.store.rglob("*"))
    with pytest.raises(error, match=text):
        await house.register(**wanted)
    assert (house.names, sorted(house.store.rglob("*")), [*house.work.glob("*")]) == ([], before, [])


async def test_a_second_registration_leaves_the_first_alone(house: House) -> None:
    packed(house.store, "p")
    await house.register("p.mar")
    (unpacked,) = house.work.iterdir()
    with pytest.raises(AlreadyRegistered, match=r"^Model version 1.0 is already registered for model p$"):
        await house.register("p.mar")
    assert [*house.work.iterdir()] == [unpacked]
    assert (unpacked / "handler.py").is_file()


async def test_two_at_once_are_one(house: House) -> None:
    packed(house.store, "p")
    results = await asyncio.gather(*(house.register("p.mar") for _ in range(5)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["AlreadyRegistered"] * 4 + ["Outcome"]
    assert len([*house.work.iterdir()]) == 1


async def test_what_was_downloaded_goes_with_its_model(house: House) -> None:
    (house.store / "sub").mkdir()
    packed(house.store / "sub", "p")
    url = f"file://{house.store}/sub/p.mar"
    await house.register(url)
    assert (house.store / "p.mar").is_file()
    await house.plane.unregister("p", None)
    assert not (house.store / "p.mar").exists()
    await house.register(url, model_name="other")
    assert (house.store / "p.mar").is_file()
    with pytest.raises(ServeError, match=r"Model file already exists p.mar"):
        await house.register(url)
    assert (house.store / "p.mar").is_file()


async def test_a_download_that_can_not_be_used_is_deleted(house: House) -> None:
    (house.store / "sub").mkdir()
    (house.store / "sub" / "torn.mar").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(InvalidArchive):
        await house.register(f"file://{house.store}/sub/torn.mar")
    assert [path.name for path in house.store.iterdir()] == ["sub"]


# ---- workers


async def test_a_models_life_with_workers(house: House) -> None:
    folder(house.store, "m", config="minWorkers: 1\nmaxWorkers: 1\n")
    assert await house.register() == Outcome('Model "m" Version: 1.0 registered with 1 initial workers')
    sink = Sink()
    DataPlane(house.registry, 1 << 30).submit("m", None, Payload("id", (Part("body", "", b"x"),)), sink)
    await asyncio.wait_for(sink.told.wait(), 30)
    assert bytes(sink.outcome.body) == b"ok"
    scaled = await house.plane.scale("m", "1.0", minimum=2, synchronous=True)
    assert scaled == Outcome("Workers scaled to 2 for model: m, version: 1.0")
    assert await house.plane.scale("m", None, minimum=1) == Outcome("Processing worker updates...", done=False)
    await house.settle()
    (entry,) = await house.plane.describe("m", None, customized=True)
    assert [worker["status"] for worker in entry["workers"]] == ["READY"]
    assert entry["customizedMetadata"] == {}
    pid = entry["workers"][0]["pid"]
    await house.plane.unregister("m", None)
    assert not psutil.pid_exists(pid)


async def test_workers_of_a_registration_by_default(barren: House, tmp_path: Path) -> None:
    folder(barren.store, "m")
    barren.plane._registration._settings = replace(barren.plane._settings, default_workers_per_model=2)
    with pytest.raises(WorkersFailed):
        await barren.register()
    assert (await barren.register(initial_workers=0)).message.endswith("to add workers for the model.")


async def test_workers_that_fail_take_the_registration_with_them(barren: House) -> None:
    packed(barren.store, "p")
    with pytest.raises(
        WorkersFailed, match=r"^Failed to start workers for model p version: 1\.0\. .*exited with code 1"
    ):
        await barren.register("p.mar", initial_workers=2)
    assert (barren.names, [*barren.work.iterdir()]) == ([], [])


async def test_behind_the_answer_they_are_tried_again(barren: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    packed(barren.store, "p")
    outcome = await barren.register("p.mar", initial_workers=1, synchronous=False)
    assert outcome == Outcome("Processing worker updates...", done=False)
    await barren.settle()
    assert barren.names == ["p/1.0"]
    assert "Failed to start workers for model p version: 1.0." in caplog.messages
    assert "Retry worker: 9000 in 1 seconds." in caplog.messages
    assert [text.split(":")[0] for text in caplog.messages if "recover" in text] == ["Auto recovery start timestamp"]


@pytest.fixture
def loading(house: House) -> Path:
    """A file that is there once the model `m`, which never comes to an end of it, is loading."""
    file = house.store / "loading"
    folder(house.store, "m", f"import pathlib, time\npathlib.Path({str(file)!r}).touch()\ntime.sleep(600)\n")
    return file


async def test_a_registration_that_is_given_up_takes_its_worker_with_it(house: House, loading: Path) -> None:
    before = psutil.Process().children()
    registering = asyncio.create_task(house.register(initial_workers=1))
    await until(loading.exists)
    registering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await registering
    assert house.names == []
    await until(lambda: psutil.Process().children() == before)


async def test_the_end_waits_for_no_worker_that_loads(house: House, loading: Path) -> None:
    before = psutil.Process().children()
    await house.register(initial_workers=1, synchronous=False)
    await until(loading.exists)
    await asyncio.wait_for(house.plane.close(0.0), 60)
    assert house.names == []
    await until(lambda: psutil.Process().children() == before)


async def test_a_model_of_the_start_stays_and_is_tried_again(barren: House, caplog: pytest.LogCaptureFixture) -> None:
    folder(barren.store, "m")
    with caplog.at_level(logging.INFO):
        await barren.plane.load_at_startup("m", "named", 1)
        await barren.settle()
    assert barren.names == ["named/1.0"]
    assert "Model named version 1.0 from m: starting 1 workers" in caplog.messages
    (entry,) = await barren.plane.describe("named", None)
    assert (entry["loadedAtStartup"], entry["minWorkers"]) == (True, 1)
    assert "exited with code 1" in entry["workers"][0]["lastError"]
    assert barren.plane.healthy()


@pytest.mark.parametrize(
    ("scaling", "error", "text"),
    [
        (
            {"minimum": -1},
            WorkersFailed,
            "min_worker must be 0 or more, not -1; the workers of model m stay as they are.",
        ),
        ({"minimum": -1, "maximum": 3}, WorkersFailed, "min_worker must be 0 or more"),
        ({"minimum": 2, "maximum": 1}, BadRequest, "^max_worker cannot be less than min_worker.$"),
        ({"maximum": -1}, BadRequest, "^max_worker cannot be less than min_worker.$"),
        ({"minimum": 1, "synchronous": True}, WorkersFailed, "^Failed to start workers for model m version: 1.0"),
    ],
)
async def test_scaling_that_is_refused_or_fails(
    barren: House, scaling: dict[str, Any], error: type[ServeError], text: str
) -> None:
    folder(barren.store, "m")
    await barren.register()
    with pytest.raises(error, match=text):
        await barren.plane.scale("m", None, **scaling)
    assert barren.names == ["m/1.0"]


async def test_scaling_to_none(barren: House) -> None:
    folder(barren.store, "m")
    await barren.register()
    assert await barren.plane.scale("m", None, minimum=0, synchronous=True) == Outcome(
        "Workers scaled to 0 for model: m"
    )


@pytest.mark.parametrize(("name", "version", "error"), [("nobody", None, ModelNotFound), ("m", "9", VersionNotFound)])
async def test_what_is_not_there(house: House, name: str, version: str | None, error: type[ServeError]) -> None:
    folder(house.store, "m")
    await house.register()
    for asking in (
        house.plane.scale(name, version),
        house.plane.unregister(name, version),
        house.plane.describe(name, version),
    ):
        with pytest.raises(error):
            await asking
    with pytest.raises(error):
        await house.plane.set_default(name, version or "1.0")


# ---- what there is


async def test_the_handlers_own_description_needs_a_worker_and_one_version(house: House) -> None:
    folder(house.store, "m")
    await house.register()
    with pytest.raises(NoWorker, match="no worker to serve describe request"):
        await house.plane.describe("m", None, customized=True)
    (entry,) = await house.plane.describe("m", "all", customized=True)
    assert "customizedMetadata" not in entry


@pytest.mark.parametrize(
    ("limit", "offset", "names", "token"),
    [
        (100, 0, "abc", None),
        (2, 0, "ab", "2"),
        (2, 2, "c", None),
        (3, 0, "abc", None),  # a full last page is the last
        (1, 1, "b", "2"),
        (0, 0, "", "0"),
        (2, 9, "", None),
    ],
)
async def test_pages(house: House, limit: int, offset: int, names: str, token: str | None) -> None:
    for name in "bca":
        folder(house.store, name)
        await house.register(name)
    page = house.plane.list_models(limit, offset)
    assert page.get("nextPageToken") == token
    assert page["models"] == [{"modelName": name, "modelUrl": name} for name in names]


async def test_health_is_that_of_the_default_versions(house: House) -> None:
    assert house.plane.healthy()
    for version in ("1.0", "2.0"):
        folder(house.store, f"v{version}", modelName="m", modelVersion=version)
        await house.register(f"v{version}")
    second = house.registry.get("m", "2.0").pool
    second.minimum = 1
    second.slots.append(slot(state=SlotState.GIVEN_UP))
    assert house.plane.healthy()
    await house.plane.set_default("m", "2.0")
    assert not house.plane.healthy()
    second.slots.clear()
    second.minimum = 0
    assert house.plane.healthy()
    house.plane.begin_drain()
    assert not house.plane.healthy()


async def test_work_behind_an_answer_that_breaks_is_for_the_log(house: House, caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    house.plane._in_background(broken())
    await house.settle()
    assert caplog.messages == ["Management work failed"]
    assert caplog.records[0].exc_info
