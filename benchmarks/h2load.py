"""Runs h2load as the load generator of unary calls of gRPC: its command line, its report and its log as a LoadRun.

h2load is written in C and takes a third of the processor time that `cli/loadgen` takes for a call, time that a server
on the same cores lacks. But it looks at HTTP statuses and counts bytes, no more. A call of gRPC that fails has the HTTP
status 200 and no message, so that the bytes of messages tell of it: there have to be as many as the answers make. What
is in them is checked before and behind each run, on a call of its own.
"""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import tempfile
from contextlib import closing
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path

import click
from torchserve.cli.loadgen.rpc_answer import whole
from torchserve.cli.reference_answers import asker_of
from torchserve.cli.rpc_connection import NoRpc

from .calls import Call
from .check import WrongAnswerError

_PREFIX = 5  # bytes before a message
_HEADERS = ("content-type: application/grpc", "te: trailers")
_TOTALS = re.compile(
    r"^requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout",
    re.MULTILINE,
)
_DATA = re.compile(r"^traffic: .*\((\d+)\) data$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class LoadRun:
    """The outcome of a run: right answers, seconds, latencies in seconds, and the generator's processor seconds.

    `first` is when half of the streams had their first piece. With `faults` it is no measurement.
    """

    right: int
    rate: float
    p50: float
    p99: float
    busy: float
    faults: tuple[str, ...] = ()
    first: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The printed report of h2load: requests that were answered, those that failed, and bytes of DATA that came."""

    done: int
    failed: int
    data: int

    def faults(self, size: int, flight: int) -> tuple[str, ...]:
        """Return what is wrong with a run of `flight` calls at a time whose right answers have `size` bytes of DATA."""
        if not self.done:
            return ("no call was answered",)
        if self.failed:
            return (f"{self.failed} of {self.done} requests failed",)
        # At the end some of the answers that are on their way may be here in part.
        if not 0 <= self.data - self.done * size <= flight * size:
            return (f"{self.done} answers have {self.data} bytes, and not {size} each: calls failed, or are wrong",)
        return ()


class UnreadableReportError(Exception):
    """An error for output of h2load that is no report. The message is the output."""


def there() -> bool:
    """Return whether h2load is installed."""
    return shutil.which("h2load") is not None


def parse(text: str) -> Report:
    """Parse what h2load prints. Raises UnreadableReportError."""
    totals, data = _TOTALS.search(text), _DATA.search(text)
    if totals is None or data is None:
        raise UnreadableReportError(text[-2000:])
    done, _, failed, errored, timeout = (int(each) for each in totals.groups())
    return Report(done, failed + errored + timeout, int(data[1]))


def latencies(log: str) -> list[float]:
    """Return the seconds that each answer of a log of h2load took, ascending."""
    return sorted(int(line.rsplit("\t", 1)[1]) / 1e6 for line in log.splitlines())


def command(call: Call, cell: tuple[int, int], seconds: float, body: Path, log: Path) -> list[str]:
    """Return the command line for `cell`: calls in flight, over so many channels."""
    flight, channels = cell
    return [
        "h2load", "--threads=1", f"--clients={channels}", f"--max-concurrent-streams={flight // channels}",
        f"--duration={round(seconds * 1e3)}ms", f"--data={body}", f"--log-file={log}",
        *(f"--header={each}" for each in _HEADERS), f"{call.address}{call.spoken.target}",
    ]  # fmt: skip


def drive(call: Call, cell: tuple[int, int], seconds: float) -> LoadRun:
    """Run the call as `command` says, and return the outcome."""
    flight, _ = cell
    scenario = call.scenario(1, 1, seconds)
    with tempfile.TemporaryDirectory(prefix="h2load-") as folder:
        body, log = Path(folder, "body"), Path(folder, "log")
        body.write_bytes(scenario.call(call.spoken.payloads[0]).body)
        try:
            size = probe(call)
            before = _spent()
            told = subprocess.run(
                command(call, cell, seconds, body, log),
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds + 30,
            )
            busy = _spent() - before
            report = parse(told.stdout + told.stderr)
            faults = report.faults(size, flight)
            if not faults and probe(call) != size:
                faults = ("the answer's size has changed meanwhile",)
        except (WrongAnswerError, UnreadableReportError, subprocess.SubprocessError) as error:
            return LoadRun(0, 0.0, 0.0, 0.0, 0.0, (str(error),))
        took = latencies(log.read_text()) if not faults else [0.0]
    p50, p99 = (took[int(share * (len(took) - 1))] for share in (0.5, 0.99))
    return LoadRun(report.done, report.done / seconds, p50, p99, busy, faults)


def probe(call: Call) -> int:
    """Make one call, and return the bytes of its answer's DATA. Raises WrongAnswerError."""
    scenario = replace(call.scenario(1, 1, 1.0), unwrap=whole)
    payload = call.spoken.payloads[0]
    try:
        with closing(asker_of(scenario)) as asker:
            message = asker.ask(payload)
    except (click.ClickException, OSError, HTTPException, NoRpc) as error:
        raise WrongAnswerError(f"a lone call failed: {error}") from None
    if not call.check(0, payload.body, call.spoken.unwrap(message)):
        raise WrongAnswerError(f"a lone call is answered wrongly: {message[:100]!r}")
    return _PREFIX + len(message)


def _spent() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
