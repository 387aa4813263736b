"""What became of each row of TorchServe's suites, beside the rows that are known to depart.

A row that fails and is not known to depart is a step back, and so is a departure that passes by now: the table is then
wrong. A row that this machine can't run (no network, no such module) is neither; its reason was found while it ran.
"""

from __future__ import annotations

import re
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PASSED, FAILED, CANNOT = "passed", "failed", "can't run here"
DEPARTED, MENDED = "departs", "passes by now"
VERDICTS = (PASSED, DEPARTED, CANNOT, FAILED, MENDED)
STEPS_BACK = (FAILED, MENDED)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a row: one of PASSED, FAILED and CANNOT."""

    suite: str
    row: str
    state: str
    reason: str = ""

    @property
    def name(self) -> str:
        return f"{self.suite}: {self.row}"


def text(outcomes: Iterable[Outcome], departures: Mapping[str, str]) -> tuple[str, bool]:
    """Return the table with what is worth a line below it, and whether a row is a step back."""
    judged = [(outcome, verdict(outcome, departures)) for outcome in outcomes]
    counts = Counter((outcome.suite, found) for outcome, found in judged)
    lines = [f"| suite | {' | '.join(VERDICTS)} |", "|---|" + "---|" * len(VERDICTS)]
    for suite in dict.fromkeys(outcome.suite for outcome, _ in judged):
        lines.append(f"| {suite} | {' | '.join(str(counts[suite, each] or '') for each in VERDICTS)} |")
    totals = [sum(found == each for _, found in judged) for each in VERDICTS]
    lines.append(f"| all | {' | '.join(map(str, totals))} |")
    for shown in VERDICTS[1:]:
        rows = [outcome for outcome, found in judged if found == shown]
        if rows:
            lines += ["", f"{shown}:"]
        for outcome in rows:
            why = reason(outcome, departures) if shown in (DEPARTED, MENDED) else outcome.reason
            lines.append(f"- {outcome.name}: {why}")
    return "\n".join(lines), any(found in STEPS_BACK for _, found in judged)


_MODULE = re.compile(r"No module named '([\w.]+)'")
_OURS = ("torchserve", "ts.", "model_archiver", "workflow_archiver")
_NO_NETWORK = re.compile(
    r"Failed to resolve|Name or service not known|[Tt]emporary failure in name resolution|Network is unreachable"
    r"|No route to host|(?:unable to|Could not) resolve host"
)
_HOST = re.compile(
    r"(?:host='|resolve '|resolve host(?: address)?:? \W?|(?:from|fetch|access): ?'?\w+://)([\w-]+\.[\w.-]+)"
)
_ARCHIVE = re.compile(r"https?://([a-zA-Z][\w-]*(?:\.[\w-]+)+)/[^\s'\"]+\.mar\b")
_KEPT = re.compile(r"Can't uninstall '([\w.-]+)'|Not uninstalling ([\w.-]+) at ")
_FIXTURE = re.compile(r"fixture '(\w+)' not found")
_FILE = re.compile(
    r"(?:No such file or directory: |does not exist: ?|can't open )['\"]?([^\s'\"]+)|(/[^\s'\"]+) is missing"
)


def verdict(outcome: Outcome, departures: Mapping[str, str]) -> str:
    """Return one of VERDICTS. A departure of a whole suite (`SUITE: *`) is none of its rows that pass."""
    whole = f"{outcome.suite}: *" in departures
    if outcome.state == CANNOT or (outcome.name not in departures and not (whole and outcome.state == FAILED)):
        return outcome.state
    return DEPARTED if outcome.state == FAILED else MENDED


def reason(outcome: Outcome, departures: Mapping[str, str]) -> str:
    """Return why a row departs."""
    return departures.get(outcome.name) or departures[f"{outcome.suite}: *"]


def without_network(said: str) -> str:
    """Return a sentence if `said` tells of a host that can't be reached; "" if it doesn't."""
    failed = _NO_NETWORK.search(said)
    if failed is None:
        return ""
    hosts = [*_HOST.finditer(said[max(0, failed.start() - 2000) : failed.end() + 200])]
    return f"there is no network that leads to {hosts[-1][1]}" if hosts else f"there is no network ({failed[0]})"


def unreachable_archive(said: str) -> str:
    """Return a sentence if `said` names an archive of a host that has no address here; "" if it doesn't.

    Only the answer to a registration says that its download failed, and few rows print that answer.
    """
    for host in dict.fromkeys(_ARCHIVE.findall(said)):
        try:
            socket.getaddrinfo(host, 443)
        except OSError:
            return f"there is no network that leads to {host}"
    return ""


def kept_package(said: str) -> str:
    """Return a sentence if `said` tells of a package that pip could not take out of the environment; "" if it doesn't.

    That is so where the virtual environment sees the packages of another one.
    """
    found = _KEPT.search(said)
    return f"pip can't uninstall {found[1] or found[2]} from this environment" if found else ""


def obstacle(said: str, home: Path, checkout: Path) -> str:
    """Return what of this machine, and not of the server, kept a row from passing; "" if `said` names nothing such."""
    for module in _MODULE.findall(said):
        if not f"{module}.".startswith(_OURS) and module != "ts":
            return f"there is no module {module}"
    if found := without_network(said):
        return found
    if found := _FIXTURE.search(said):
        return f"there is no plugin of pytest with the fixture {found[1]}"
    for path in _FILE.finditer(said):
        below = Path(path[1] or path[2]).resolve()
        if below.is_relative_to(home) and not (checkout / below.relative_to(home)).exists():
            parts = below.relative_to(home).parts
            made_by_the_server = {"logs", "key_file.json"} & set(parts)
            if parts[0] in ("examples", "test", "kubernetes") and not made_by_the_server:
                return f"the checkout has no {below.relative_to(home)}"
    return ""
