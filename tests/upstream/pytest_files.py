"""TorchServe's own pytest files, run in a copy of a checkout on TorchServe's fixed ports, with this project's `ts`,
`torchserve` and archiver.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from . import web
from .table import CANNOT, FAILED, PASSED, Outcome, kept_package, obstacle, unreachable_archive, without_network

PORTS = (8080, 8081, 8082, 7070, 7071)
TEST_LIMIT = 300  # seconds for one test
FILE_LIMIT = 1800


ARCHIVER = "workflow_archiver"  # the folder of the workflow archiver's own tests, before their names


def names(home: Path) -> list[str]:
    """The test files of the checkout, without .py, and without what the tests of several files share."""
    found = (path.stem for path in (home / "test/pytest").glob("test_*.py"))
    own = (f"{ARCHIVER}/{path.stem}" for path in _archivers_tests(home).glob("*/test_*.py"))
    return sorted(name for name in found if not name.endswith("_utils")) + sorted(own)


def _archivers_tests(home: Path) -> Path:
    return home / "workflow-archiver" / ARCHIVER / "tests"


def _place(home: Path, name: str) -> tuple[Path, Path]:
    """The folder that a file of tests is run in, and its path."""
    folder, _, short = name.rpartition("/")
    if not folder:
        return home / "test/pytest", Path(f"{name}.py")
    (path,) = _archivers_tests(home).glob(f"*/{short}.py")
    return home / "workflow-archiver", path


def run(home: Path, checkout: Path, name: str) -> Iterator[Outcome]:
    """The rows of one file. What pytest printed is left in NAME.txt of `home`."""
    taken = [port for port in PORTS if _listens(port)]
    if taken:
        yield Outcome(f"pytest {name}", "all", CANNOT, f"port {taken[0]} of this machine is taken")
        return
    folder, path = _place(home, name)
    report, said = (home / f"{name.replace('/', '.')}.{suffix}" for suffix in ("xml", "txt"))
    report.unlink(missing_ok=True)
    logs = home / "test/pytest/logs"  # of the servers that the file starts
    shutil.rmtree(logs, ignore_errors=True)
    env = dict(os.environ)
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"]])
    env["TMPDIR"] = str(home / "tmp")
    if folder != home / "test/pytest":
        env["PYTHONSAFEPATH"] = "1"  # the folder has one that is named as our package is
    (home / "tmp/workspace/model_store").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto"]
    command += ["-o", "junit_logging=all", f"--timeout={TEST_LIMIT}", f"--junitxml={report}", str(path)]
    with web.served(home, name), said.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        late = ""
        try:
            process.wait(FILE_LIMIT)
        except subprocess.TimeoutExpired:
            late = f"the file had not ended after {FILE_LIMIT} s"
        finally:
            _end(process.pid)
            process.wait()
            subprocess.run(
                [Path(sys.executable).with_name("torchserve"), "--stop"], env=env, capture_output=True, check=False
            )
    text = said.read_text(errors="replace")
    if report.exists():
        logged = "\n".join(each.read_text(errors="replace") for each in sorted(logs.glob("[mt]*_log.log")))
        missing = obstacle(logged, home, checkout)
        hindered = f"the server's log says that {missing}" if missing else kept_package(report.read_text())
        for outcome in rows(f"pytest {name}", report.read_text(), home, checkout):
            yield _explained(outcome, hindered)
    else:
        reason = late or text.strip().rpartition("\n")[2]
        hindered = obstacle(text, home, checkout)
        yield Outcome(f"pytest {name}", "all", CANNOT if hindered else FAILED, hindered or reason)


def rows(suite: str, report: str, home: Path, checkout: Path) -> Iterator[Outcome]:
    """The outcomes in a JUnit report of pytest. A file that can't be imported is one row."""
    for case in ET.fromstring(report).iter("testcase"):
        row = (case.get("name") or "?").replace(f"{home}/", "")  # else each run had names of its own
        if not case.get("classname"):
            row = "all"  # an error of the collection
        bad = next((each for each in case if each.tag in ("failure", "error", "skipped")), None)
        if bad is None:
            yield Outcome(suite, row, PASSED)
            continue
        message = " ".join((bad.get("message") or "").split())[:200]
        if bad.tag == "skipped":
            yield Outcome(suite, row, CANNOT, f"skipped: {message}")
            continue
        said = f"{message}\n\n{bad.text or ''}"
        printed = "".join(each.text or "" for each in case if each.tag.startswith("system-"))
        hindered = obstacle(said, home, checkout) or without_network(printed) or unreachable_archive(said)
        yield Outcome(suite, row, CANNOT if hindered else FAILED, hindered or _last(said))


def _explained(outcome: Outcome, hindered: str) -> Outcome:
    """The outcome; a failure is one of this machine if something of it, `hindered`, kept the whole file from passing."""
    if outcome.state != FAILED or not hindered:
        return outcome
    return replace(outcome, state=CANNOT, reason=f"{hindered}; the row: {outcome.reason}")


def _last(said: str) -> str:
    """The line of a traceback that names the exception, or what is nearest to it."""
    named = re.findall(r"^E +(.*)$", said, re.MULTILINE)
    return (named[0] if named else said.strip().splitlines()[0])[:200]


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def _end(session: int) -> None:
    """End what a file has started and left running, in its own session."""
    try:
        os.killpg(session, signal.SIGKILL)
    except ProcessLookupError:
        return
