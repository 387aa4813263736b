"""Snapshots: after any end, a restart without --ts-config brings back the models as the last answer left them."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import javaproperties
import pytest

from .handlers import BROKEN, ECHO
from .live import COMMAND, LiveServer, environment, eventually, make_model

CONFIG = ("--ts-config", "config.properties")
NO_WORKERS = "batchSize: 2\n"
TWO = "minWorkers: 2\nmaxWorkers: 2\nbatchSize: 4\nmaxBatchDelay: 7\n"
Start = Callable[..., LiveServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start with these flags, in a home that stays the same from one start to the next."""
    running: list[LiveServer] = []

    def begin(*flags: str, models: tuple[str, ...] = (), properties: str = "") -> LiveServer:
        running.append(LiveServer(tmp_path, models, flags=flags, properties=properties))
        return running[-1].wait()

    yield begin
    for server in running:
        server.stop()


def snapshots(home: Path, kind: str = "*") -> list[Path]:
    return sorted((home / "logs" / "config").glob(f"*-{kind}.cfg"))


def saved(path: Path) -> dict[str, Any]:
    return json.loads(javaproperties.loads(path.read_text())["model_snapshot"])["models"]


def seen(server: LiveServer) -> list[dict[str, Any]]:
    """What there is to be seen of the models, save what may differ after a restart."""
    names = [entry["modelName"] for entry in server.manage("GET", "/models").json["models"]]
    entries = [entry for name in names for entry in server.manage("GET", f"/models/{name}/all").json]
    defaults = {name: server.manage("GET", f"/models/{name}").json[0]["modelVersion"] for name in names}
    return [
        {key: value for key, value in entry.items() if key not in {"workers", "jobQueueStatus", "loadedAtStartup"}}
        | {"default": defaults[entry["modelName"]]}
        for entry in entries
    ]


def crash(server: LiveServer) -> None:
    server.process.send_signal(signal.SIGKILL)
    server.stop()


def test_a_restart_brings_everything_back(start: Start, store: Path, tmp_path: Path) -> None:
    make_model(store, "echo", ECHO, config=TWO)
    manifest = make_model(store, "echo2", ECHO, config=NO_WORKERS) / "MAR-INF" / "MANIFEST.json"
    manifest.write_text('{"model": {"modelName": "echo", "modelVersion": "2.0", "handler": "missing.py"}}')
    away = tmp_path / "away"
    with zipfile.ZipFile(store / "packed.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", '{"model": {"modelName": "packed", "handler": "h.py"}}')
        archive.writestr("h.py", ECHO)
    away.mkdir()
    shutil.move(store / "packed.mar", away / "packed.mar")
    make_model(away, "beside", ECHO, config=NO_WORKERS)

    server = start(*CONFIG, models=("echo",), properties="job_queue_size=50\nallowed_urls=file://.*")
    ask = server.manage
    assert len(snapshots(tmp_path, "startup")) == 1
    for method, path in [
        ("POST", "/models?url=echo2&handler=handler.py&initial_workers=1&response_timeout=9&runtime=python3"),
        ("PUT", "/models/echo/2.0/set-default"),
        ("PUT", "/models/echo/1.0?min_worker=1&max_worker=3&synchronous=true"),
        ("POST", f"/models?url=file://{away}/packed.mar&batch_size=3"),
        ("POST", f"/models?url={away}/beside&model_name=b"),
        ("POST", "/models?url=echo&model_name=gone"),
        ("DELETE", "/models/gone"),
    ]:
        before = len(snapshots(tmp_path, "snapshot"))
        assert ask(method, path).status == 200, path
        assert len(snapshots(tmp_path, "snapshot")) == before + 1, "it is there when the answer comes"
    before = seen(server)
    crash(server)

    server = start()
    assert server.has_logged("Removing orphan pid file.")
    assert server.has_logged("Configuration and models are taken from the snapshot")
    assert seen(server) == before
    server.ready("echo")
    assert server.predict("echo", b"x").body == b"x"
    assert server.manage("GET", "/models/echo").json[0]["loadedAtStartup"] is True
    assert server.manage("GET", "/models/echo").json[0]["jobQueueStatus"]["remainingCapacity"] == 50
    assert server.stop() == 0

    server = start()
    assert seen(server) == before
    assert server.manage("DELETE", "/models/packed").status == 200
    assert not (store / "packed.mar").exists(), "what was downloaded goes with its model, restarted or not"
    assert saved(snapshots(tmp_path)[-1]).keys() == {"echo", "b"}


def test_what_failed_is_not_saved(start: Start, store: Path, tmp_path: Path) -> None:
    make_model(store, "broken", BROKEN, config=NO_WORKERS)
    server = start(*CONFIG)
    for method, path in [
        ("POST", "/models?url=broken&initial_workers=1"),
        ("POST", "/models?url=missing"),
        ("PUT", "/models/nobody?synchronous=true"),
        ("DELETE", "/models/nobody"),
        ("PUT", "/models/nobody/1.0/set-default"),
    ]:
        assert server.manage(method, path).status >= 400
    assert snapshots(tmp_path, "snapshot") == []
    assert server.manage("POST", "/models?url=broken&initial_workers=1&synchronous=false").status == 202
    server.until_logged("Failed to start workers for model broken")
    assert server.stop() == 0
    # Behind a 202 a model stays and its workers are tried again, as in TorchServe: a restart has it too.
    assert saved(*snapshots(tmp_path, "shutdown")).keys() == {"broken"}
    assert [entry["modelName"] for entry in seen(start())] == ["broken"]


def test_scaling_in_the_background_is_saved_once_it_is_done(start: Start, store: Path, tmp_path: Path) -> None:
    make_model(store, "echo", ECHO, config=NO_WORKERS)
    server = start(*CONFIG)
    server.manage("POST", "/models?url=echo")
    assert server.manage("PUT", "/models/echo?min_worker=1").status == 202
    eventually(lambda: saved(snapshots(tmp_path)[-1])["echo"]["1.0"]["minWorkers"] == 1)


def test_torn_files_are_passed_over(start: Start, store: Path, tmp_path: Path) -> None:
    make_model(store, "echo", ECHO, config=NO_WORKERS)
    server = start(*CONFIG)
    server.manage("POST", "/models?url=echo")
    server.manage("POST", "/models?url=echo&model_name=second")
    crash(server)
    newest = snapshots(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    (newest.parent / ".writing-1").write_text("model_snapshot={")
    assert [entry["modelName"] for entry in seen(start())] == ["echo"]


def test_without_snapshots(start: Start, store: Path, tmp_path: Path) -> None:
    make_model(store, "echo", ECHO, config=NO_WORKERS)
    server = start("--ncs", *CONFIG)
    server.manage("POST", "/models?url=echo")
    assert server.stop() == 0
    assert snapshots(tmp_path) == []

    server = start(*CONFIG)
    server.manage("POST", "/models?url=echo")
    assert server.stop() == 0
    before = snapshots(tmp_path)
    server = start("--ncs")
    assert seen(server) == []
    assert server.stop() == 0
    assert snapshots(tmp_path) == before
    assert seen(start(*CONFIG)) == [], "a file that is named beats a snapshot"


def test_a_file_with_a_model_snapshot(start: Start, store: Path) -> None:
    """As KServe's config.properties has it."""
    make_model(store, "echo", ECHO, config=NO_WORKERS)
    document = {"name": "startup.cfg", "modelCount": 1, "models": {"mine": {"1.0": {
        "defaultVersion": True, "marName": "echo", "minWorkers": 1, "maxWorkers": 5, "batchSize": 3, "maxBatchDelay": 10,
        "responseTimeout": 60,
    }}}}  # fmt: skip
    server = start("--ncs", *CONFIG, properties=f"load_models=missing.mar\nmodel_snapshot={json.dumps(document)}")
    server.ready("mine")
    (entry,) = seen(server)
    assert (entry["minWorkers"], entry["maxWorkers"], entry["batchSize"], entry["responseTimeout"]) == (1, 5, 3, 60)


def test_models_of_the_command_line_come_beside_the_snapshots(start: Start, store: Path) -> None:
    make_model(store, "echo", ECHO, config=NO_WORKERS)
    make_model(store, "other", ECHO, config=NO_WORKERS)
    server = start(*CONFIG, models=("echo",), properties="default_workers_per_model=1")
    assert server.manage("PUT", "/models/echo?min_worker=2&synchronous=true").status == 200
    assert server.manage("POST", "/models?url=echo&model_name=third").status == 200
    crash(server)
    names = [(entry["modelName"], entry["minWorkers"]) for entry in seen(start(models=("mine=other", "echo")))]
    assert names == [("echo", 2), ("mine", 1), ("third", 1)]


def test_a_flag_unlocks_one_run_and_a_file_all(start: Start, store: Path, tmp_path: Path) -> None:
    server = start(*CONFIG, "--enable-model-api", properties="disable_token_authorization=true")
    assert server.stop() == 0
    kept = javaproperties.loads(snapshots(tmp_path)[-1].read_text())
    assert "enable_model_api" not in kept
    assert kept["disable_token_authorization"] == "true"
    assert start().has_logged("In force: disable_token_authorization=true")


def test_archives_that_can_not_be_brought_back_are_told(start: Start, store: Path, tmp_path: Path) -> None:
    make_model(store, "echo", ECHO, config=NO_WORKERS)
    broken = ("missing", "torn", "unlisted")
    server = start(*CONFIG)
    server.manage("POST", "/models?url=echo&initial_workers=1")
    for name in broken:
        with zipfile.ZipFile(store / f"{name}.mar", "w") as archive:
            archive.writestr("MAR-INF/MANIFEST.json", f'{{"model": {{"modelName": "{name}", "handler": "h.py"}}}}')
        assert server.manage("POST", f"/models?url={name}.mar").status == 200
    assert server.stop() == 0
    (store / "missing.mar").unlink()
    (store / "torn.mar").write_bytes(b"PK\x03\x04 torn")
    with zipfile.ZipFile(store / "unlisted.mar", "w") as archive:
        archive.writestr("junk", "instead of a manifest")
    result = subprocess.run(
        [*COMMAND, "--start", "--model-store", "store"],
        cwd=tmp_path, env=environment(tmp_path), text=True, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    try:
        assert result.returncode == 0, result.stderr
        first, *rest = result.stdout.splitlines()
        assert "TorchServe is running" in first
        for name in broken:
            (told,) = [
                line
                for line in rest
                if f"The archive {name}.mar of model {name} could not be loaded at start: " in line
            ]
            assert told.split(maxsplit=2)[:2] == ["not", "ready"]
    finally:
        stopped = subprocess.run(
            [*COMMAND, "--stop"], cwd=tmp_path, env=environment(tmp_path), timeout=120, check=False
        )
    assert stopped.returncode == 0
    assert saved(snapshots(tmp_path, "shutdown")[-1]).keys() == {"echo", *broken}
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_folder_that_takes_no_snapshot_costs_no_service(start: Start, store: Path, tmp_path: Path) -> None:
    make_model(store, "echo", ECHO, config=NO_WORKERS)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "config").write_text("a file, where a folder belongs")
    server = start(*CONFIG)
    server.until_logged("The snapshot could not be written, and the server goes on without")
    assert server.manage("POST", "/models?url=echo&initial_workers=1").status == 200
    assert server.predict("echo", b"x").body == b"x"
    (tmp_path / "logs" / "config").unlink()
    assert server.manage("DELETE", "/models/echo").status == 200
    server.until_logged("Snapshots can be written again")
    assert saved(*snapshots(tmp_path, "snapshot")) == {}
    assert server.stop() == 0
