"""The scene of a chaos run: the server with its models, started anew as often as it is ended, and what it leaves behind."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ..e2e.live import LiveServer, gone
from ..http.certificates import trusting, write_pair
from .ledger import REMOVAL, Fault, Ledger
from .models import BATCHED_HANDLER, CALLERS, PASSING, RUNS, VERSIONS, WORKFLOWS, write_models


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer of a management call; status 0 where the server ended before it came."""

    status: int
    json: Any = None


class Scene:
    """One server at a time, in the folder `home`. `up` is set while it answers; clients end when `over` is set."""

    def __init__(self, home: Path, ledger: Ledger, batched: str = BATCHED_HANDLER, *, flows: bool = True) -> None:
        """`home` is an empty folder; `batched` is the handler, as text, of the models that answer in batches.

        With `flows` there are workflows, too, and models whose handlers call another one.
        """
        self.home = home
        self.ledger = ledger
        self.up = asyncio.Event()
        self.over = asyncio.Event()
        self.remains: list[str] = []  # what a server left behind
        self._runs = home / "runs"
        self._runs.mkdir()
        (home / "store").mkdir()
        self._workflows = WORKFLOWS if flows else ()
        self._models = write_models(home / "store", batched, flows=flows)
        self.flows = (*CALLERS, *WORKFLOWS) if flows else ()
        self.certificate, self.key = write_pair(home)
        self._server: LiveServer | None = None
        self._family: set[int] = set()
        self._absent: dict[str, int] = {}  # versions that are not registered, and the fault that says so

    @property
    def server(self) -> LiveServer:
        assert self._server is not None
        return self._server

    @property
    def port(self) -> int:
        return self.server.ports["Inference"]

    def now(self) -> float:
        return time.monotonic()

    # ---- the server's life

    async def start(self) -> None:
        """Start the server and wait until all models that it starts with have a worker, and its workflows are there."""
        self._server = await asyncio.to_thread(self._launch)
        for model in self._models:
            await self.until_ready(model.partition("=")[0])
        self.has_come(VERSIONS[0])
        for version in VERSIONS[1:]:
            self.goes(version)
        for name in self._workflows:
            done = await self.manage("POST", f"/workflows?url={name}.war")
            assert done.status == 200, f"workflow {name} could not be registered: {done}"
        self.up.set()

    async def end(self, how: signal.Signals) -> int:
        """End the server by a signal, and note what is left of it. Returns its exit code."""
        self.watch()
        self.up.clear()
        server = self.server
        server.process.send_signal(how)
        code = await asyncio.to_thread(server.process.wait, 120)
        await asyncio.to_thread(server.stop)
        await self._look_for_remains(tidy=how is signal.SIGTERM)
        return code

    def watch(self) -> None:
        """Remember the processes that the server has now: they have to be gone once it has ended."""
        self._family |= {child.pid for child in psutil.Process(self.server.process.pid).children(recursive=True)}

    def _launch(self) -> LiveServer:
        properties = (
            "management_address=https://127.0.0.1:0\n"
            f"certificate_file={self.certificate}\nprivate_key_file={self.key}\n"
            "max_request_size=8000000\n"
        )
        return LiveServer(self.home, self._models, properties=properties, env={"CHAOS_RUNS": str(self._runs)}).wait()

    async def _look_for_remains(self, *, tidy: bool) -> None:
        deadline = self.now() + 60.0
        while (left := [pid for pid in self._family if not gone(pid)]) and self.now() < deadline:
            await asyncio.sleep(0.05)
        self.remains += [f"process {pid} outlived its server" for pid in left]
        self._family.clear()
        if tidy:  # a server that was killed is swept after by the next one
            self.remains += [f"{path} is left" for path in (self.home / "tmp").iterdir()]

    # ---- asking it

    async def manage(self, method: str, path: str) -> Outcome:
        """One call of the management API, over TLS."""
        return await asyncio.to_thread(self._manage, method, path)

    def _manage(self, method: str, path: str) -> Outcome:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.server.ports["Management"], timeout=120, context=trusting()
        )
        try:
            connection.request(method, path, None, {"Content-Length": "0"} if method in {"POST", "PUT"} else {})
            response = connection.getresponse()
            return Outcome(response.status, json.loads(response.read()))
        except (OSError, http.client.HTTPException):
            return Outcome(0)
        finally:
            connection.close()

    async def workers(self, model: str, version: str = "") -> list[dict[str, Any]]:
        """What `describe` tells of a version's workers; none where it isn't there."""
        found = await self.manage("GET", f"/models/{model}" + (f"/{version}" if version else ""))
        return found.json[0]["workers"] if found.status == 200 else []

    async def until_ready(self, model: str) -> None:
        deadline = self.now() + 120.0
        while not any(worker["status"] == "READY" for worker in await self.workers(model)):
            assert self.now() < deadline, f"model {model} has no worker after 120 s"
            await asyncio.sleep(0.05)

    async def told_processes(self) -> set[int]:
        """The pids of all workers that `describe` tells of."""
        told: set[int] = set()
        for entry in (await self.manage("GET", "/models?limit=100")).json["models"]:
            for version in (await self.manage("GET", f"/models/{entry['modelName']}/all")).json:
                told |= {worker["pid"] for worker in version["workers"] if worker["pid"] > 0}
        return told

    async def busy(self) -> list[str]:
        """The lines of /metrics that say that a request is queued or runs."""
        answer = await asyncio.to_thread(self.server.call, "Metrics", "GET", "/metrics")
        lines = answer.body.decode().splitlines()
        gauges = ("torchserve_queue_depth{", "torchserve_requests_in_flight{")
        return [line for line in lines if line.startswith(gauges) and not line.endswith(" 0.0")]

    # ---- the books

    def begin(self, kind: str, model: str = "") -> int:
        """Tell the ledger of a fault that is about to happen; `finish` says when its effects have ended."""
        self.ledger.faults.append(Fault(kind, self.now(), float("inf"), model))
        return len(self.ledger.faults) - 1

    def finish(self, fault: int) -> None:
        begun = self.ledger.faults[fault]
        self.ledger.faults[fault] = Fault(begun.kind, begun.begin, self.now(), begun.model)

    def goes(self, version: str) -> None:
        """A version of the passing model is not there from now on."""
        if version not in self._absent:
            self._absent[version] = self.begin(REMOVAL, f"{PASSING}/{version}")

    def has_come(self, version: str) -> None:
        """A version of the passing model is there again."""
        if version in self._absent:
            self.finish(self._absent.pop(version))

    def count_runs(self) -> None:
        """Read what the handlers wrote down: which requests ran, and how often."""
        self.ledger.ran((line for file in self._runs.iterdir() for line in file.read_text().split()), RUNS)


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
