"""Measures what the front costs: a thousand registered models, ten thousand scrapes, metrics, logs and keys.

Run it as `python -m benchmarks.front_door`; benchmarks/README.md says how it measures. Exit status: 0 if all targets
are met, 1 if one is missed, 2 if nothing could be measured.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from . import oracle, wrk
from .check import Checker, WrongAnswerError
from .leaks import LeakMonitor
from .process import NotServingError
from .report import Spread, pairwise
from .servers import Server, ServerSetup
from .workload import Workload, echo, idle

KEEPS = 0.85  # share of the speed that is left with everything on, at least
QUICK = 50.0  # milliseconds to list a thousand models, or to describe one, at most
IGNORED = "k" * 32  # sent to servers that ask for no key, so that all get the same requests
MODELS, SCRAPES, PAGE = 1000, 10_000, 100
BARE = "disable_system_metrics=true\nenable_metrics_api=false\nmetrics_mode=prometheus\n"
SETUPS = {
    "everything on": ServerSetup("disable_token_authorization=false\n", tokens=True),
    "everything off": ServerSetup(BARE, variant="bare"),
    "torchserve": ServerSetup(),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A row of the report. `met` is None if there is no target."""

    what: str
    figures: str
    target: str = ""
    met: bool | None = None

    def __str__(self) -> str:
        word = {True: "yes", False: "**no**", None: ""}[self.met]
        return f"| {self.what} | {self.figures} | {self.target} | {word} |"


class Client:
    """A connection to one of the server's APIs. `get` raises WrongAnswerError for any status but 200."""

    def __init__(self, url: str) -> None:
        self._connection = HTTPConnection(urlsplit(url).netloc, timeout=60)

    def get(self, path: str, method: str = "GET") -> bytes:
        self._connection.request(method, path)
        with closing(self._connection.getresponse()) as answer:
            body = answer.read()
        if answer.status != 200:
            raise WrongAnswerError(f"{method} {path}: {answer.status} {body[:200]!r} instead of a 200")
        return body

    def close(self) -> None:
        self._connection.close()


@contextmanager
def serving(
    workload: Workload, venv: Path, setup: ServerSetup = SETUPS["torchserve"], name: str = "ours"
) -> Iterator[Server]:
    with Server(name, venv, workload, setup) as server:
        server.wait_for_ping()
        checker = Checker(workload)
        while True:
            try:
                checker.check(server.predictions, key=server.key())
                break
            except WrongAnswerError:
                if server.age() > 180:
                    raise
                time.sleep(0.05)
        yield server


# ---- a thousand models


def timed(work: Callable[[], object], times: int) -> Spread:
    """Return the milliseconds that each of the calls took."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1e3)
    return Spread.of(taken)


def many_models(workload: Workload, archive: Path, venv: Path) -> Iterator[Finding]:
    """Measure listing, describing and scraping with a thousand models, and what a scrape costs requests beside it."""
    with serving(workload, venv) as server, closing(Client(server.management)) as manage:
        shutil.copy2(archive, server.folder / "store")

        def register(number: int) -> None:
            with closing(Client(server.management)) as client:
                client.get(f"/models?url={archive.name}&model_name=m{number:04}&initial_workers=0", "POST")

        def page(start: int) -> bytes:
            return manage.get(f"/models?limit={PAGE}&next_page_token={start}")

        began = time.perf_counter()
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(register, range(MODELS - 1)))  # one of MODELS is registered at the start
        taken = time.perf_counter() - began
        yield Finding(f"register {MODELS - 1:,} models without workers", f"{taken:.1f} s")
        names = [name for start in range(0, MODELS, PAGE) for name in page(start).split(b'"modelName"')[1:]]
        if len(names) != MODELS:
            raise WrongAnswerError(f"{len(names)} models are listed instead of {MODELS}")
        listing = timed(lambda: [page(start) for start in range(0, MODELS, PAGE)], 30)
        yield quick(f"list all {MODELS:,}, in pages of {PAGE}", listing)
        yield quick("describe one of them", timed(lambda: manage.get("/models/m0500"), 100))
        with closing(Client(server.metrics)) as scraper:
            size = len(scraper.get("/metrics"))
            scrape = timed(lambda: scraper.get("/metrics"), 30)
            yield Finding(f"scrape /metrics with {MODELS:,} models, {size / 2**20:.1f} MiB", figures(scrape))
            with closing(Client(server.url)) as client, ThreadPoolExecutor(1) as threads:
                alone = timed(lambda: client.get("/ping"), 500)
                scraping = threads.submit(timed, lambda: scraper.get("/metrics"), 30)
                beside = timed(lambda: client.get("/ping"), 500)
                scraping.result()
            yield Finding("/ping alone, and beside scrapes one after the other", f"{figures(alone)}; {figures(beside)}")


def figures(spread: Spread, unit: str = "ms") -> str:
    return f"{spread.median:.2f} {unit} ({spread.low:.2f} to {spread.high:.2f})"


def quick(what: str, spread: Spread) -> Finding:
    return Finding(what, figures(spread), f"≤ {QUICK:.0f} ms", spread.median <= QUICK)


# ---- ten thousand scrapes


def scraped(workload: Workload, venv: Path, setup: ServerSetup, times: int) -> LeakMonitor:
    """Scrape on one connection and on new connections in turn, after a tenth as many scrapes that warm up."""
    with serving(workload, venv, setup) as server:
        monitor = LeakMonitor(server.front())
        lasting = Client(server.metrics)
        for number in range(-times // 10, times + 1):
            if number % 2:
                with closing(Client(server.metrics)) as client:
                    client.get("/metrics")
            else:
                lasting.get("/metrics")
            if number >= 0 and number % (times // 20) == 0:
                monitor.read(number)
        return monitor


def leaks(workload: Workload, venv: Path) -> Iterator[Finding]:
    """Measure what scrapes leave behind in this server, and in one with a planted leak, which has to be found."""
    for name, setup, expected in [
        ("this server", ServerSetup(), []),
        (
            "one with a planted leak of 1 KiB a scrape and a file every 100",
            ServerSetup(variant="leaky"),
            ["memory", "files"],
        ),
    ]:
        monitor = scraped(workload, venv, setup, SCRAPES)
        size = f"{monitor.memory[-1] / 2**20:.0f} MiB"
        text = f"{monitor.bytes_each:+.1f} bytes and {monitor.files_each:+.4f} files a scrape; {size}"
        target = "leaks nothing" if not expected else "both are seen"
        yield Finding(f"{SCRAPES:,} scrapes of {name}", text, target, monitor.leaks == expected)


# ---- what counting and checking cost


def price(workload: Workload, venvs: dict[str, Path], options: argparse.Namespace, folder: Path) -> Iterator[Finding]:
    """Drive echo by wrk, the servers in turn."""
    with ExitStack() as stack:
        servers: dict[str, tuple[Server, Path]] = {}
        for name, venv in venvs.items():
            server = stack.enter_context(serving(workload, venv, SETUPS[name], name.replace(" ", "-")))
            lua = folder / f"{name}.lua"
            lua.write_text(wrk.script(folder / "body", workload.content_type, server.key() or IGNORED))
            servers[name] = server, lua
        for connections in options.connections:
            for server, lua in servers.values():
                wrk.drive(server.predictions, lua, connections, options.warmup)
            runs: dict[str, list[Run]] = {name: [] for name in servers}
            for _ in range(options.rounds):
                for name, (server, lua) in servers.items():
                    runs[name].append(run := driven(server, lua, connections, options.seconds))
                    say(f"{connections} connections, {name}: {run.rate:.0f} requests/s, {run.cpu_us:.1f} us each")
            yield from compared(connections, runs)


@dataclass(frozen=True, slots=True)
class Run:
    """A run: requests per second, and microseconds of processor time per request of all the server's processes."""

    rate: float
    cpu_us: float


def driven(server: Server, lua: Path, connections: int, seconds: float) -> Run:
    """Drive the server for `seconds` and return the run. Raises WrongAnswerError if requests failed."""
    before = server.usage()
    sample = wrk.drive(server.predictions, lua, connections, seconds)
    if sample.fault:
        raise WrongAnswerError(f"{server.name}, {connections} connections: {sample.fault}")
    return Run(sample.rate, (server.usage().cpu_seconds - before.cpu_seconds) * 1e6 / sample.requests)


def compared(connections: int, runs: dict[str, list[Run]]) -> Iterator[Finding]:
    """Yield the medians, and the ratios of runs in the same round."""
    rates = {name: [run.rate for run in of_one] for name, of_one in runs.items()}
    for what, unit in [("rate", "requests/s"), ("cpu_us", "processor time of a request, us")]:
        medians = {name: statistics.median(getattr(run, what) for run in of_one) for name, of_one in runs.items()}
        text = "; ".join(f"{name} {median:.0f}" for name, median in medians.items())
        yield Finding(f"echo, {connections} connections, {unit}", text)
    for name, target in [("everything off", KEEPS), ("torchserve", 1.0)]:
        ratio = pairwise(rates["everything on"], rates.get(name, []))
        if ratio is not None:
            shown = ratio.told(2)
            what = f"echo, {connections} connections: everything on, as a share of {name}"
            yield Finding(what, shown, f"≥ {target:g}", ratio.median >= target)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.front_door", description=__doc__)
    parser.add_argument(
        "--parts", nargs="+", choices=("models", "leaks", "price"), default=["models", "leaks", "price"]
    )
    parser.add_argument("--without-torchserve", action="store_true", help="compare this server with itself alone")
    parser.add_argument("--torchserve-venv", type=Path, help=f"holds TorchServe; default ${oracle.VARIABLE} or new")
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 16, 64])
    parser.add_argument("--rounds", type=int, default=7, help="runs of each server at each number of connections")
    parser.add_argument("--seconds", type=float, default=4, help="of one run")
    parser.add_argument("--warmup", type=float, default=3, help="seconds before the first round of each")
    options = parser.parse_args(argv)
    ours = Path(sys.prefix)
    venvs = {"everything on": ours, "everything off": ours}
    findings: list[Finding] = []
    try:
        if "price" in options.parts and not options.without_torchserve:
            venvs["torchserve"] = oracle.find(options.torchserve_venv)
        with tempfile.TemporaryDirectory(prefix="front-door-") as name:
            folder = Path(name)
            archiver = ours / "bin" / "torch-model-archiver"
            workload = echo(archiver, folder)
            (folder / "body").write_bytes(workload.body)
            parts = {
                "models": partial(many_models, workload, idle(archiver, folder), ours),
                "leaks": partial(leaks, workload, ours),
                "price": partial(price, workload, venvs, options, folder),
            }
            print("| what | figures | target | met |\n|---|---|---|---|")
            for part in options.parts:
                for finding in parts[part]():
                    findings.append(finding)
                    print(finding, flush=True)
    except (oracle.NoOracleError, NotServingError, WrongAnswerError, wrk.UnreadableReportError, OSError) as fault:
        say(f"INVALID: {fault}")
        return 2
    return 1 if any(finding.met is False for finding in findings) else 0


def say(text: str) -> None:
    """Print progress to standard error."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
