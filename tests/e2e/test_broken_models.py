"""One broken model never keeps a start, and the other models, down: it is told, and the others serve."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import javaproperties
import pytest

from .handlers import ECHO
from .live import LiveServer, eventually, make_model

ONE = "minWorkers: 1\nmaxWorkers: 1\n"
# What a model's own code does to its worker at load.
CODE = {
    "raises": "raise RuntimeError('no such weights')\n",
    "dies": "import os\nos._exit(3)\n",
    "hangs": "import threading\nthreading.Event().wait()\n",
}
# What can be wrong with an archive: the entry of the model store, and what the server says of it.
ARCHIVES: dict[str, tuple[Callable[[Path], object] | None, str]] = {
    "missing.mar": (None, "Model not found at: missing.mar"),
    "junk.mar": (lambda path: path.write_bytes(b"PK\3\4 torn"), "junk.mar: it is no zip archive"),
    "empty.mar": (lambda path: path.touch(), "empty.mar: it is no zip archive"),
    "nothing": (lambda path: path.mkdir(), "nothing names no handler"),
    "yaml": (lambda path: make_model(path.parent, "yaml", ECHO, config="a: [\n"), "yaml: model-config.yaml: "),
    "greedy": (
        lambda path: make_model(path.parent, "greedy", ECHO, config="minWorkers: 100000\nmaxWorkers: 100000\n"),
        "minWorkers must be from 0 to",
    ),
}
Start = Callable[..., LiveServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start with these models, in a home that stays the same from one start to the next."""
    running: list[LiveServer] = []

    def begin(*models: str, properties: str = "", flags: tuple[str, ...] = ()) -> LiveServer:
        running.append(LiveServer(tmp_path, models, flags=flags, properties=properties))
        return running[-1].wait()

    yield begin
    for server in running:
        server.stop()


@pytest.fixture
def broken(store: Path) -> list[str]:
    """A model that serves, and all that don't."""
    make_model(store, "echo", ECHO, config=ONE)
    for name, line in CODE.items():
        make_model(store, name, f"{line}{ECHO}", config=ONE)
    for name, (make, _) in ARCHIVES.items():
        if make is not None:
            make(store / name)
    return ["echo", *CODE, *ARCHIVES]


def missing(server: LiveServer) -> list[str]:
    return server.call("Inference", "GET", "/health/ready").json.get("missing", [])


def saved(home: Path) -> set[str]:
    """The models in the newest snapshot of a stop."""
    newest = max((home / "logs" / "config").glob("*-shutdown.cfg"))
    return set(json.loads(javaproperties.loads(newest.read_text())["model_snapshot"])["models"])


def check(server: LiveServer, archives: list[str], code: list[str]) -> None:
    server.ready("echo")
    assert server.predict("echo", b"x").body == b"x"
    told = missing(server)
    for name in archives:
        model, _, _ = name.partition(".")
        why = ARCHIVES[name][1]
        assert [each for each in told if each.startswith(f"The archive {name} ") and why in each], (name, told)
        described = server.manage("GET", f"/models/{model}")
        assert described.status == 404
        assert why in described.json["message"], described.json
        assert server.has_logged("Failed to load model ")
    for name in code:
        assert f'Model "{name}" version 1.0 has 0 of 1 workers.' in told
    assert len(told) == len(archives) + len(code)


@pytest.mark.parametrize("how", ["all", "named", "properties"])
def test_the_others_serve(start: Start, broken: list[str], how: str) -> None:
    archives, config = list(ARCHIVES), ("--ncs", "--ts-config", "config.properties")
    properties = 'default_workers_per_model=1\nmodels={"echo": {"1.0": {"batchSize": 2}}}\n'
    if how == "all":
        server = start("all", properties=properties, flags=config)
        archives.remove("missing.mar")
    elif how == "named":
        server = start(*broken, properties=properties, flags=config)
    else:
        server = start(properties=f"{properties}load_models={','.join(broken)}\n", flags=config)
    check(server, archives, list(CODE))
    worker = server.workers("raises")[0]
    eventually(lambda: "no such weights" in str(server.workers("raises")[0].get("lastError")))
    assert worker["status"] != "READY"


def test_a_restart_brings_back_what_it_can(start: Start, broken: list[str], store: Path, tmp_path: Path) -> None:
    """From a snapshot; what it can't bring back stays in the next snapshots, until it is there again or removed."""
    make_model(store, "other", ECHO, config=ONE)
    config = ("--ts-config", "config.properties")
    server = start("echo", "mine=other", properties="default_workers_per_model=1", flags=config)
    server.ready("mine")
    assert server.stop() == 0
    (store / "other").rename(store / "away")
    server = start()
    server.ready("echo")
    assert server.predict("echo", b"x").body == b"x"
    (told,) = missing(server)
    assert told == "The archive other of model mine could not be loaded at start: Model not found at: other"
    assert told in server.manage("GET", "/models/mine").json["message"]
    assert server.stop() == 0
    assert saved(tmp_path) == {"echo", "mine"}
    (store / "away").rename(store / "other")
    server = start()
    server.ready("mine")
    server.ready("echo")
    assert missing(server) == []
    assert server.stop() == 0
    (store / "other").rename(store / "away")
    server = start()
    server.ready("echo")
    assert len(missing(server)) == 1
    assert server.manage("DELETE", "/models/mine").status == 200
    assert server.manage("DELETE", "/models/mine").status == 404
    assert missing(server) == []
    assert server.stop() == 0
    assert saved(tmp_path) == {"echo"}


def test_what_was_named_and_left_out_is_tried_again_from_the_snapshot(
    start: Start, broken: list[str], store: Path
) -> None:
    properties = "default_workers_per_model=1\nload_models=echo,m=missing.mar"
    server = start(properties=properties, flags=("--ts-config", "config.properties"))
    server.ready("echo")
    assert len(missing(server)) == 1
    assert server.stop() == 0
    make_model(store, "missing.mar", ECHO, config=ONE)
    server = start()
    server.ready("m")
    server.ready("echo")
    assert missing(server) == []
