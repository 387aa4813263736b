"""How the server is started in the background.

The parent starts the server as a child process in a session of its own, and waits on a pipe until the child reports
either the addresses it serves at or the reason why it could not start.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..core.config.address import Address, parse_address
from ..core.errors import InvalidConfig
from ..core.trusted_file import open_appending
from .connection import connection_to
from .process_name import named_command

_PIPE = "TORCHSERVE_REPORT_FD"
_CONSOLE = "TORCHSERVE_CONSOLE"  # set where the child's standard output is the starter's, and log lines belong there
_CLEARING = 10.0  # seconds a failed start has for its clean-up


class Reporter:
    """A reporter that tells the parent process, through a pipe, how the start of a background server went.

    In a process that was not started by `start_in_background` there is no pipe, and all methods do nothing.
    """

    def __init__(self) -> None:
        descriptor = os.environ.pop(_PIPE, None)
        self._pipe = None if descriptor is None else os.fdopen(int(descriptor), "wb")
        self.console = os.environ.pop(_CONSOLE, "") != "" or descriptor is None
        """Whether log lines go to standard output, too."""

    @property
    def in_background(self) -> bool:
        """Return whether this process was started by `start_in_background`."""
        return self._pipe is not None

    def ready(self, addresses: Mapping[str, str], lacking: Sequence[str] = ()) -> None:
        """Report that the server has started, with its addresses by API ("inference", …, "grpc_inference", …).

        `lacking` says which models could not be loaded, and why.
        """
        self._tell({"addresses": addresses, "lacking": lacking})

    def failed(self, reason: str) -> None:
        """Report that the start has failed for `reason`."""
        self._tell({"error": reason})

    def _tell(self, report: dict[str, object]) -> None:
        if self._pipe is not None and not self._pipe.closed:
            with contextlib.suppress(BrokenPipeError), self._pipe as pipe:  # a starter that was killed hears nothing
                pipe.write(json.dumps(report).encode())


def start_in_background(arguments: Sequence[str], logs: Path) -> str:
    """Start the server in the background and return the lines to print once it has answered its first health check.

    Raises InvalidConfig with the child's reason if the server does not start.
    """
    log_file = logs / "ts_log.log"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        output = os.fdopen(open_appending(log_file), "ab")
    except OSError:  # without a writable log folder the server runs without logs
        output = Path(os.devnull).open("ab")  # noqa: SIM115  (closed below, like the file it stands in for)
    reading, writing = os.pipe()
    console = keeps_output(1)
    with output:
        child = subprocess.Popen(
            named_command(arguments),
            env=os.environ | {_PIPE: str(writing)} | ({_CONSOLE: "1"} if console else {}),
            stdin=subprocess.DEVNULL,
            stdout=None if console else output,
            stderr=output,
            pass_fds=(writing,),
            start_new_session=True,
        )
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe, _stopped_with(child):
        told = pipe.read()  # returns when the child has reported or has died
    report: dict[str, Any] = json.loads(told) if told else {"error": "its process ended without giving a reason"}
    if "error" in report:
        _wait_for_the_end(child)
        raise InvalidConfig(f"TorchServe did not start: {report['error']} (log: {log_file})")
    child.returncode = 0  # the server outlives this process; subprocess would warn about a running child
    addresses: dict[str, str] = report["addresses"]
    lines = [f"TorchServe is running (pid {child.pid}) and {_ping(parse_address(addresses['inference']))}."]
    lines += [f"  {face:<15} {address}" for face, address in addresses.items()]
    lines += [f"  {'logs':<15} {logs}", *(f"  {'not ready':<15} {reason}" for reason in report["lacking"])]
    return "\n".join(lines)


def keeps_output(descriptor: int) -> bool:
    """Return whether a server in the background goes on writing log lines to its starter's standard output.

    TorchServe always does, and containers that start it and then wait have their logs that way. So does a file or a
    socket (a service manager's journal) here. A pipe or a terminal is written to only if it is also that of the first
    process, as in a container: whoever reads another pipe, as `$(torchserve --start)` does, would wait for the server's
    end, and a terminal is somebody's.
    """
    try:
        ours = os.fstat(descriptor)
        if stat.S_ISFIFO(ours.st_mode) or os.isatty(descriptor):
            return os.path.samestat(ours, os.stat("/proc/1/fd/1"))  # noqa: PTH116  (as os.fstat gives it)
        return not os.path.samestat(ours, os.stat(os.devnull))  # noqa: PTH116
    except OSError:  # it is closed, or the first process is another user's
        return False


@contextlib.contextmanager
def _stopped_with(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Have `child` stop, too, where somebody stops this process (Ctrl-C, SIGTERM) before `child` has reported.

    A closed terminal (SIGHUP) ends this process alone: a server in the background is meant to outlive it.
    """

    def stop(number: int, frame: object) -> None:
        del frame
        child.terminate()
        _wait_for_the_end(child)
        click.echo(f"{signal.Signals(number).name}: TorchServe was stopped before it had started.", err=True)
        sys.exit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_for_the_end(child: subprocess.Popen[bytes]) -> None:
    """Wait until `child` has ended, and kill it after _CLEARING seconds.

    A server that has reported its failure still removes its pid file, its folders and its workers. Until it has ended,
    another start would find them.
    """
    try:
        child.wait(timeout=_CLEARING)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _ping(address: Address) -> str:
    connection = connection_to(address)
    try:
        connection.request("GET", "/ping")
        return "healthy" if connection.getresponse().status == 200 else "not healthy yet"
    except (OSError, http.client.HTTPException) as error:
        raise InvalidConfig(f"TorchServe started and does not answer at {address}: {error}") from error
    finally:
        connection.close()
