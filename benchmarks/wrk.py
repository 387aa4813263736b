"""Runs wrk as the load generator: its script, its command line, and its printed report as a Sample."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6}
_COUNTS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_PERCENTILE = re.compile(r"^\s+(\d+)%\s+([\d.]+)(us|ms|s|m|h)\s*$", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s+([\d.]+)\s*$", re.MULTILINE)
_TOTAL = re.compile(r"^\s*([\d.]+)([kMG]?) requests in ([\d.]+)(us|ms|s|m|h),", re.MULTILINE)
_STATUS = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_SOCKET = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
_THOUSANDTH = re.compile(r"^99\.9% (\d+) us$", re.MULTILINE)
_BEYOND = 10  # answers that must be slower than a percentile for it to be reported
_MAXIMUM = re.compile(r"^\s+Latency\s+\S+\s+\S+\s+([\d.]+)(us|ms|s|m|h)\s", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of a run of wrk. Latencies are milliseconds from the actual send, as the loop is closed.

    `p999` is None if too few answers were slower.
    """

    rate: float
    requests: float
    p50: float
    p99: float
    longest: float
    bad_status: int = 0
    bad_socket: int = 0
    p90: float | None = None
    p999: float | None = None

    @property
    def fault(self) -> str | None:
        """Return why this run is no valid measurement, or None."""
        if self.bad_status or self.bad_socket:
            return f"{self.bad_status} responses that are neither 2xx nor 3xx, {self.bad_socket} socket errors"
        return None if self.requests else "no request was answered"


class UnreadableReportError(Exception):
    """An error for output of wrk that is no report. The message is the output."""


def parse(text: str) -> Sample:
    """Parse what `wrk --latency` prints. Raises UnreadableReportError."""
    percentiles = {int(p): float(value) * _UNITS[unit] for p, value, unit in _PERCENTILE.findall(text)}
    rate, total, longest = _RATE.search(text), _TOTAL.search(text), _MAXIMUM.search(text)
    if rate is None or total is None or longest is None or not {50, 99} <= percentiles.keys():
        raise UnreadableReportError(text)
    status, socket = _STATUS.search(text), _SOCKET.search(text)
    requests = float(total[1]) * _COUNTS[total[2]]
    thousandth = _THOUSANDTH.search(text) if requests >= 1000 * _BEYOND else None
    return Sample(
        rate=float(rate[1]),
        requests=requests,
        p50=percentiles[50],
        p99=percentiles[99],
        longest=float(longest[1]) * _UNITS[longest[2]],
        bad_status=int(status[1]) if status else 0,
        bad_socket=sum(int(count) for count in socket.groups()) if socket else 0,
        p90=percentiles.get(90),
        p999=int(thousandth[1]) / 1e3 if thousandth else None,
    )


def script(
    bodies: Path | Sequence[Path], content_type: str, key: str = "", headers: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return a Lua script that sends the files as POST bodies in turn, with `key` as the bearer token if it is not
    empty.
    """
    files = [bodies] if isinstance(bodies, Path) else bodies
    sent = {"Content-Type": content_type, **headers} | ({"Authorization": f"Bearer {key}"} if key else {})
    return "\n".join(
        (
            "local function read(path)",
            "  local file = assert(io.open(path, 'rb'))",
            "  local body = file:read('*a')",
            "  file:close()",
            "  return body",
            "end",
            "wrk.method = 'POST'",
            f"wrk.body = read({_quoted(str(files[0]))})",
            *(f"wrk.headers[{_quoted(name)}] = {_quoted(value)}" for name, value in sent.items()),
            *(_in_turn(files) if len(files) > 1 else ()),
            "function done(_, latency)",
            "  io.write(string.format('99.9%% %d us\\n', latency:percentile(99.9)))",
            "end",
            "",
        )
    )


def _in_turn(files: Sequence[Path]) -> list[str]:
    """Return the lines that build the requests once and send them in turn, over all connections."""
    return [
        "local requests, turn = {}, 0",
        "function init()",
        f"  for place, path in ipairs({{{', '.join(_quoted(str(file)) for file in files)}}}) do",
        "    requests[place] = wrk.format(nil, nil, nil, read(path))",
        "  end",
        "end",
        "function request()",
        "  turn = turn % #requests + 1",
        "  return requests[turn]",
        "end",
    ]


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def command(url: str, lua: Path, connections: int, seconds: float) -> list[str]:
    """Return wrk's command line, with one thread: more would take cores from the server that is measured."""
    return [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--timeout",
        "30s",
        "--latency",
        "-s",
        str(lua),
        url,
    ]


def drive(url: str, lua: Path, connections: int, seconds: float) -> Sample:
    """Run wrk to its end. Raises UnreadableReportError if it fails or prints no report."""
    done = subprocess.run(
        command(url, lua, connections, seconds), capture_output=True, text=True, timeout=seconds + 90, check=False
    )
    if done.returncode != 0:
        raise UnreadableReportError(f"wrk ended with {done.returncode}: {done.stdout}{done.stderr}")
    return parse(done.stdout)


def version() -> str:
    """Return wrk's name and version. Raises FileNotFoundError if it is not installed."""
    done = subprocess.run(["wrk", "-v"], capture_output=True, text=True, timeout=10, check=False)
    return (done.stdout or done.stderr).splitlines()[0].partition(" Copyright")[0]
