"""The faults that a chaos run causes. Each tells the ledger which failures it explains; most explain none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import signal
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import psutil

from ..http.certificates import write_pair
from .ledger import KILL, REMOVAL, STOP, WORKER
from .models import COMING, KILLED, PASSING
from .scene import Scene

Fault: TypeAlias = Callable[[Scene, random.Random], Awaitable[None]]


async def kill_a_worker(scene: Scene, rng: random.Random) -> None:
    """SIGKILL; what it ran may fail with it, and nothing else."""
    model = rng.choice(KILLED)
    workers = [worker for worker in await scene.workers(model) if worker["pid"] > 0]
    if not workers:
        return
    victim = rng.choice(workers)
    fault = scene.begin(WORKER, model)
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim["pid"], signal.SIGKILL)
    for _ in range(2400):
        now = await scene.workers(model)
        if now and all(each["pid"] not in {victim["pid"], -1} and each["status"] == "READY" for each in now):
            break
        await asyncio.sleep(0.05)
    scene.finish(fault)


async def freeze_a_worker(scene: Scene, rng: random.Random) -> None:
    """SIGSTOP for a moment: its requests are late, and right."""
    workers = [worker["pid"] for worker in await scene.workers("torn") if worker["pid"] > 0]
    if workers:
        frozen = rng.choice(workers)
        with contextlib.suppress(ProcessLookupError):
            os.kill(frozen, signal.SIGSTOP)
            await asyncio.sleep(0.7)
            os.kill(frozen, signal.SIGCONT)


async def scale(scene: Scene, _rng: random.Random) -> None:
    """More workers, fewer, and as many as before: a worker that has to go finishes its batch first."""
    for count in (3, 1, 2):
        done = await scene.manage("PUT", f"/models/torn?min_worker={count}&max_worker={count}&synchronous=true")
        if done.status not in {200, 0}:
            scene.remains.append(f"torn could not be scaled to {count}: {done}")


async def scale_in_haste(scene: Scene, _rng: random.Random) -> None:
    """Scaled again before the scaling before it is done, twelve times."""
    for count in (3, 1) * 6:
        _ = await scene.manage("PUT", f"/models/torn?min_worker={count}&max_worker={count}")
    _ = await scene.manage("PUT", "/models/torn?min_worker=2&max_worker=2&synchronous=true")


async def change_version(scene: Scene, _rng: random.Random) -> None:
    """The other version comes, is the default, and the one before goes: who asks for the default feels nothing."""
    found = await scene.manage("GET", f"/models/{PASSING}")
    if found.status != 200:
        return
    old = found.json[0]["modelVersion"]
    new = "2.0" if old == "1.0" else "1.0"
    _ = await scene.manage(
        "POST", f"/models?url={PASSING}-{new}&model_name={PASSING}&initial_workers=1&synchronous=true"
    )
    scene.has_come(new)
    _ = await scene.manage("PUT", f"/models/{PASSING}/{new}/set-default")
    scene.goes(old)
    _ = await scene.manage("DELETE", f"/models/{PASSING}/{old}")


async def change_workflow(scene: Scene, _rng: random.Random) -> None:
    """A workflow goes with its nodes, and comes again: what it had accepted is answered, and no node of it stays."""
    fault = scene.begin(REMOVAL, COMING)
    gone = await scene.manage("DELETE", f"/workflows/{COMING}")
    listed = await scene.manage("GET", "/models?limit=100")
    left = [each["modelName"] for each in listed.json["models"] if each["modelName"].startswith(f"{COMING}__")]
    come = await scene.manage("POST", f"/workflows?url={COMING}.war")
    scene.finish(fault)
    if (gone.status, come.status, left) != (200, 200, []):
        scene.remains.append(f"workflow {COMING} went with {gone}, left {left} and came with {come}")


async def register_in_haste(scene: Scene, _rng: random.Random) -> None:
    """A model that is removed while it still loads, again and again: nothing of it stays."""
    for _ in range(6):
        _ = await scene.manage("POST", "/models?url=calm&model_name=hasty&initial_workers=2")
        _ = await scene.manage("PUT", "/models/hasty?min_worker=1&max_worker=1")
        _ = await scene.manage("DELETE", "/models/hasty")


async def fill_the_disk(scene: Scene, _rng: random.Random) -> None:
    """No file of the server can grow for a while: log lines are lost, and answers are not."""
    server = psutil.Process(scene.server.process.pid)
    soft, hard = server.rlimit(resource.RLIMIT_FSIZE)
    server.rlimit(resource.RLIMIT_FSIZE, (1, hard))
    await asyncio.sleep(1.0)
    with contextlib.suppress(psutil.NoSuchProcess):
        server.rlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def change_certificate(scene: Scene, _rng: random.Random) -> None:
    """A certificate that is garbage, then a good one: management goes on with the one before."""
    scene.certificate.write_text("no certificate")
    await asyncio.sleep(0.5)
    good = await scene.manage("GET", "/models")
    if good.status not in {200, 0}:
        scene.remains.append(f"management with a broken certificate file answered {good}")
    _ = write_pair(scene.home)


async def stop_the_server(scene: Scene, _rng: random.Random) -> None:
    """SIGTERM under load, and a new start: what it had accepted is answered."""
    fault = scene.begin(STOP)
    code = await scene.end(signal.SIGTERM)
    if code != 0:
        scene.remains.append(f"a server that was told to stop ended with code {code}")
    await scene.start()
    scene.finish(fault)


async def kill_the_server(scene: Scene, _rng: random.Random) -> None:
    """SIGKILL under load, and a new start."""
    fault = scene.begin(KILL)
    _ = await scene.end(signal.SIGKILL)
    await scene.start()
    scene.finish(fault)


FAULTS: tuple[Fault, ...] = (
    kill_a_worker, freeze_a_worker, scale, change_version, fill_the_disk, kill_a_worker, scale_in_haste,
    register_in_haste, change_certificate, change_version, change_workflow, stop_the_server, kill_a_worker,
    kill_the_server,
)  # fmt: skip
