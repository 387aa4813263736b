"""Measure what the start of a worker costs: `python -m benchmarks.worker_start --store DIR --model imagenet`.

Two servers of this tree hold the same archive with one worker each: one forks its workers, the other starts each on its
own. In turn each is asked for a second worker, which then goes again. What counts is the processor time of that worker
until it has loaded, with that of the fork server meanwhile: other programs on the machine change it little. The clock's
time is shown beside it.

With `--workers N` each server then gets N workers, whose resident (RSS) and proportional (PSS) memory is shown: PSS
divides a page among the processes that share it.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click
import psutil

from .process import free_ports

_GOAL = 0.3  # of a spawned worker's processor time
_SERVING = 300.0  # seconds in which a server has loaded its model


@dataclass(frozen=True, slots=True)
class Cost:
    """The seconds that one worker took to start: of the processor, and by the clock."""

    processor: float
    clock: float


class _Server:
    """A server of this tree with one model, in a temporary folder. Workers are forked if `forks`."""

    def __init__(self, folder: Path, store: Path, model: str, *, forks: bool) -> None:
        folder.mkdir()
        self._model, self.forks = model, forks
        inference, self._management, metrics = free_ports(3)
        places = zip(("inference", "management", "metrics"), (inference, self._management, metrics), strict=True)
        lines = [f"{name}_address=http://127.0.0.1:{port}" for name, port in places]
        lines += ["enable_grpc=false", "default_workers_per_model=1", f"fork_workers={str(forks).lower()}", ""]
        config = folder / "c.properties"
        _ = config.write_text("\n".join(lines))
        command = [sys.executable, "-m", "torchserve.cli.main", "--start", "--foreground", "--ncs", "--model-store"]
        command += [str(store.absolute()), "--ts-config", str(config), "--models", f"{model}={model}.mar"]
        command += ["--disable-token-auth"]
        environment = os.environ | {"TMPDIR": str(folder), "LOG_LOCATION": str(folder / "logs")}
        self._output = (folder / "output").open("wb")
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=self._output, stderr=subprocess.STDOUT
        )

    def wait(self) -> None:
        """Wait until the model's worker serves."""
        deadline = time.monotonic() + _SERVING
        while not any(worker["status"] == "READY" for worker in self._workers()):
            assert self.process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, f"{self._model} is not served"
            time.sleep(0.1)

    def _workers(self) -> list[dict[str, object]]:
        try:
            return json.loads(self._ask("GET", ""))[0]["workers"]
        except (OSError, http.client.HTTPException, LookupError, ValueError):
            return []

    def _ask(self, method: str, query: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._management, timeout=_SERVING)
        connection.request(method, f"/models/{self._model}{query}")
        answer = connection.getresponse().read()
        connection.close()
        return answer

    def scale(self, workers: int) -> None:
        """Have so many workers, and wait until they have loaded."""
        _ = self._ask("PUT", f"?min_worker={workers}&max_worker={workers}&synchronous=true")

    def pids(self) -> set[int]:
        """Return the pids of the workers."""
        return {int(str(worker["pid"])) for worker in self._workers()}

    def second_worker(self) -> Cost:
        """Start a second worker and end it again. Return what its start cost."""
        before = self.pids()
        helpers = {each.pid: each for each in psutil.Process(self.process.pid).children() if each.pid not in before}
        spent = sum(map(_seconds, helpers.values()))
        began = time.monotonic()
        self.scale(2)
        clock = time.monotonic() - began
        (started,) = self.pids() - before
        processor = _seconds(psutil.Process(started)) + sum(map(_seconds, helpers.values())) - spent
        self.scale(1)
        return Cost(processor, clock)

    def memory(self) -> tuple[float, float]:
        """Return the mean RSS and PSS of the workers in MiB."""
        held = [psutil.Process(pid).memory_full_info() for pid in self.pids()]
        return statistics.mean(each.rss for each in held) / 2**20, statistics.mean(each.pss for each in held) / 2**20

    def stop(self) -> None:
        """End the server."""
        self.process.terminate()
        _ = self.process.wait()
        self._output.close()


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


@click.command(help=__doc__)
@click.option("--store", type=click.Path(path_type=Path, exists=True), required=True, help="The folder of the archive.")
@click.option("--model", default="imagenet", show_default=True, help="The archive's name without .mar.")
@click.option("--rounds", default=5, show_default=True, help="How many second workers each server starts.")
@click.option("--workers", default=0, show_default=True, help="How many workers' memory is measured; 0: none.")
def main(store: Path, model: str, rounds: int, workers: int) -> None:
    with tempfile.TemporaryDirectory() as made, ExitStack() as running:
        servers = [_Server(Path(made, str(forks)), store, model, forks=forks) for forks in (False, True)]
        for server in servers:
            running.callback(server.stop)
        for server in servers:
            server.wait()
        costs: dict[bool, list[Cost]] = {False: [], True: []}
        for _ in range(rounds):
            for server in servers:
                costs[server.forks].append(server.second_worker())
        for forks, name in ((False, "spawned"), (True, "forked")):
            spent = [each.processor for each in costs[forks]]
            clock = statistics.median(each.clock for each in costs[forks])
            click.echo(
                f"{name:8} {statistics.median(spent):6.2f} s of the processor ({min(spent):.2f} to {max(spent):.2f}),"
                f" {clock:6.2f} s by the clock"
            )
        ratio = statistics.median(a.processor / b.processor for a, b in zip(costs[True], costs[False], strict=True))
        click.echo(f"a second worker of {model}: forked/spawned {ratio:.2f} of the processor time, wanted {_GOAL}")
        for server in servers if workers else ():
            server.scale(workers)
            rss, pss = server.memory()
            name = "forked" if server.forks else "spawned"
            click.echo(f"{workers} {name} workers, each: RSS {rss:.0f} MiB, PSS {pss:.0f} MiB")


if __name__ == "__main__":
    main()
