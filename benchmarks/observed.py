"""Measure what it costs the front to be observed: tracing, and the dashboard with viewers.

Run it as `python -m benchmarks.observed`; benchmarks/README.md says how it measures. Exit status: 0 if all targets are
met, 1 if one is missed, 2 if nothing could be measured.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import timeit
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from torchserve.core.tracing.trace_parent import parent_in
from torchserve.core.tracing.tracer import Tracer

from . import wrk
from .check import WrongAnswerError
from .front_door import Client, Finding, say, serving
from .process import NotServingError
from .report import Spread
from .servers import Server, ServerSetup
from .workload import Workload, echo, idle

MODELS = 1000
_DECISION = 1.0  # us that a request which is not recorded may cost
_SHARE = 1.0  # percent of a core that viewers may cost
_SETTLE = 1.3  # s after a run for what the exporter sends late
_WATCHED = 10.0  # s for which viewers' cost is measured
_CALLS = 2000  # of a decision that is timed: few, so that some are not disturbed by what else runs
_SINK = """
import http.server

class Sink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
print(server.server_port, flush=True)
server.serve_forever()
"""
_UNSAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


@dataclass(frozen=True, slots=True)
class Case:
    """A way to observe a server. `rate` is None without an endpoint; `viewers` look at the dashboard."""

    name: str
    rate: float | None = None
    parent: str = ""
    viewers: int = 0
    properties: str = ""


CASES = (
    Case("tracing absent, dashboard closed"),
    Case("tracing off: a rate, and no endpoint", properties="trace_sampling_rate=1\n"),
    Case("unsampled: trace_sampling_rate=0", 0.0),
    Case("unsampled by its client's traceparent", 0.0, _UNSAMPLED),
    Case("1 % sampled", 0.01),
    Case("100 % sampled", 1.0),
    Case("tracing absent, dashboard open, 1 viewer", viewers=1),
    Case("tracing absent, dashboard open, 5 viewers", viewers=5),
)


@dataclass(frozen=True, slots=True)
class Run:
    """A run of wrk: requests per second, p99 (ms), and the front's processor time per request (us)."""

    rate: float
    p99: float
    front_us: float


@contextmanager
def collector() -> Iterator[str]:
    """Run a collector in a process of its own, which drops what it gets. Yields its address."""
    with subprocess.Popen([sys.executable, "-c", _SINK], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


class Viewer:
    """A viewer of a dashboard: it reads the events until it is closed. `first` are the bytes of the whole state."""

    def __init__(self, management: str) -> None:
        self._connection = HTTPConnection(urlsplit(management).netloc, timeout=60)
        self._connection.request("GET", "/dashboard/events")
        self._answer = self._connection.getresponse()
        if self._answer.status != 200:
            raise WrongAnswerError(f"the dashboard answers {self._answer.status}")
        self.first = self.later = 0
        self.events = 0
        self.seen = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            kind = b""
            while line := self._answer.readline():
                if line.startswith(b"event: "):
                    kind = line
                elif kind == b"event: state\n" and line.startswith(b"data: "):
                    if not self.events:
                        self.first = len(line)
                    self.later, self.events = len(line), self.events + 1
                    self.seen.set()
        except (OSError, ValueError, AttributeError):  # closed while it reads
            return

    def close(self) -> None:
        if self._connection.sock is not None:
            self._connection.sock.shutdown(2)
        self._thread.join()
        self._answer.close()
        self._connection.close()


@contextmanager
def watched(server: Server, viewers: int) -> Iterator[list[Viewer]]:
    """Let viewers look at the dashboard of a server."""
    with ExitStack() as stack:
        looking = [stack.enter_context(closing(Viewer(server.management))) for _ in range(viewers)]
        for each in looking:
            if not each.seen.wait(60):
                raise WrongAnswerError("a viewer was shown no state")
        yield looking


def driven(server: Server, case: Case, lua: Path, options: argparse.Namespace) -> Run:
    """Drive a server, and return the run with what its exporter does afterwards. Raises WrongAnswerError."""
    with watched(server, case.viewers):
        before = server.usage().of_front.seconds
        sample = wrk.drive(server.predictions, lua, options.connections, options.seconds)
        if sample.fault:
            raise WrongAnswerError(f"{case.name}: {sample.fault}")
        if case.rate:
            time.sleep(_SETTLE)
        spent = server.usage().of_front.seconds - before
    return Run(sample.rate, sample.p99, spent * 1e6 / sample.requests)


def costs(workload: Workload, options: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Drive echo by wrk, all cases in turn, and yield the rows of a table."""
    runs: dict[str, list[Run]] = {case.name: [] for case in CASES}
    with collector() as sink, ExitStack() as stack:
        servers: list[tuple[Case, Server, Path]] = []
        for number, case in enumerate(CASES):
            traced = "" if case.rate is None else f"otlp_traces_endpoint={sink}\ntrace_sampling_rate={case.rate:g}\n"
            setup = ServerSetup(case.properties + traced)
            server = stack.enter_context(serving(workload, Path(sys.prefix), setup, f"case{number}"))
            lua = folder / f"{number}.lua"
            headers = {"traceparent": case.parent} if case.parent else {}
            lua.write_text(wrk.script(folder / "body", workload.content_type, headers=headers))
            servers.append((case, server, lua))
        for _, server, lua in servers:
            wrk.drive(server.predictions, lua, options.connections, options.warmup)
        for at in range(options.rounds):
            for case, server, lua in servers:
                runs[case.name].append(run := driven(server, case, lua, options))
                say(f"round {at + 1}, {case.name}: {run.rate:.0f} requests/s, {run.front_us:.1f} us each")
        for case, server, _ in servers:
            if case.rate:
                with closing(Client(server.metrics)) as client:
                    found = client.get("/metrics?name[]=torchserve_trace*").decode()
                say(f"{case.name}: {[line for line in found.splitlines() if not line.startswith('#')]}")
    yield from table(runs)


def table(runs: dict[str, list[Run]]) -> Iterator[str]:
    """Yield a row for each case: medians, and what differs from the first case in the same round."""
    yield "| observed by | requests/s | p99 ms | front us a request | beside the first, us | requests/s beside it |"
    yield "|---|---:|---:|---:|---:|---:|"
    (first, base), *_ = runs.items()
    for name, found in runs.items():
        figures = (
            f"{statistics.median(run.rate for run in found):.0f}",
            f"{statistics.median(run.p99 for run in found):.2f}",
            Spread.of(run.front_us for run in found).told(1),
        )
        more = ratio = ""
        if name != first:
            more = Spread.of(run.front_us - other.front_us for run, other in zip(found, base, strict=True)).told(1)
            ratio = Spread.of(run.rate / other.rate for run, other in zip(found, base, strict=True)).told(2)
        yield f"| {name} | {' | '.join(figures)} | {more} | {ratio} |"


def decisions() -> Iterator[Finding]:
    """Time by itself what a request costs that is not recorded: no noise of a server hides a microsecond."""
    tracer = Tracer(0.0, lambda _: None)
    raw = ((b"host", b"x"), (b"content-type", b"application/json"), (b"traceparent", _UNSAMPLED.encode()))
    fields = {name.decode(): value.decode() for name, value in raw}

    def timed(statement: str, names: dict[str, object]) -> float:
        taken = min(timeit.repeat(statement, globals=names, number=_CALLS, repeat=300))
        return taken / _CALLS * 1e6

    nothing = timed("tracer is None", {"tracer": None})
    yield Finding("off: whether there is a tracer", f"{nothing:.3f} us")
    names = {"tracer": tracer, "parent_in": parent_in, "fields": fields, "raw": raw}
    for what, statement in (
        ("the decision not to record a request", "tracer.begin(None)"),
        ("the same where its client has decided, with reading its traceparent", "tracer.begin(parent_in(fields, raw))"),
    ):
        took = timed(statement, names)
        yield Finding(what, f"{took:.3f} us", f"≤ {_DECISION:g} us", took <= _DECISION)


def many_models(workload: Workload, archive: Path) -> Iterator[Finding]:
    """Measure what viewers cost a server of a thousand models, and what they are sent."""
    with serving(workload, Path(sys.prefix)) as server, closing(Client(server.management)) as manage:
        shutil.copy2(archive, server.folder / "store")
        for number in range(MODELS - 1):
            manage.get(f"/models?url={archive.name}&model_name=m{number:04}&initial_workers=0", "POST")
        server.rest()
        shares: dict[int, float] = {}
        sizes = 0, 0
        for viewers in (0, 1, 5):
            with watched(server, viewers) as looking:
                before, began = server.usage().of_front.seconds, time.monotonic()
                time.sleep(_WATCHED)
                spent = server.usage().of_front.seconds - before
                shares[viewers] = spent / (time.monotonic() - began) * 100
                if viewers == 1:
                    sizes = looking[0].first, looking[0].later
        yield Finding(
            f"the whole state of {MODELS:,} models, and a second's news of idle ones",
            f"{sizes[0] / 1024:.0f} KiB; {sizes[1]} bytes",
        )
        for viewers in (1, 5):
            more = shares[viewers] - shares[0]
            what = f"{viewers} viewer{'s' * (viewers > 1)} of {MODELS:,} models, percent of a core"
            yield Finding(what, f"{more:.2f} more than {shares[0]:.2f}", f"≤ {_SHARE:g}", more <= _SHARE)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.observed", description=__doc__)
    parser.add_argument(
        "--parts", nargs="+", choices=("decisions", "costs", "models"), default=["decisions", "costs", "models"]
    )
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=8, help="runs of each case, in turn")
    parser.add_argument("--seconds", type=float, default=3, help="of one run")
    parser.add_argument("--warmup", type=float, default=2, help="seconds before the first round of each case")
    options = parser.parse_args(argv)
    findings: list[Finding] = []
    try:
        with tempfile.TemporaryDirectory(prefix="observed-") as name:
            folder, archiver = Path(name), Path(sys.prefix) / "bin" / "torch-model-archiver"
            workload = echo(archiver, folder)
            (folder / "body").write_bytes(workload.body)
            if "costs" in options.parts:
                print(*costs(workload, options, folder), "", sep="\n", flush=True)
            print("| what | figures | target | met |\n|---|---|---|---|")
            for part, found in (
                ("decisions", decisions),
                ("models", lambda: many_models(workload, idle(archiver, folder))),
            ):
                for finding in found() if part in options.parts else ():
                    findings.append(finding)
                    print(finding, flush=True)
    except (NotServingError, WrongAnswerError, wrk.UnreadableReportError, OSError) as fault:
        say(f"INVALID: {fault}")
        return 2
    return 1 if any(finding.met is False for finding in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
