"""Three servers behind Envoy, haproxy or nginx: what is lost at a rolling restart, and when one is killed.

`python -m tests.replicas haproxy nginx envoy=PATH` prints a table; a proxy is looked for in the path unless it is given.
It ends with 1 if a restart lost a request, a kill more than what could be in flight, or anything ran twice.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..e2e.live import LiveServer, eventually, make_model
from ..ports import kept_ports
from .load import CLIENTS, Account, Load

PROXIES = Path(__file__).parents[2] / "deploy" / "proxies"
FILES = {"envoy": "envoy.yaml", "haproxy": "haproxy.cfg", "nginx": "nginx.conf"}
COMMANDS = {
    "envoy": ("-c", "{config}", "--base-id-path", "base", "--use-dynamic-base-id", "--log-level", "error", "--concurrency", "1"),
    "haproxy": ("-db", "-f", "{config}"),
    "nginx": ("-p", "{folder}", "-c", "{config}", "-g", "daemon off;"),
}  # fmt: skip
# Notes each number that it has run, so that what ran twice is seen, and takes long enough to be in flight.
HANDLER = """
import os, time
RAN = os.open({ran!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def handle(data, context):
    rows = [bytes(row.get("body") or row.get("data") or b"") for row in data or ()]
    if rows:
        os.write(RAN, b"".join(b"%s\\n" % row for row in rows))
        time.sleep(0.02)
    return rows
"""
SETTINGS = "inference_address=http://127.0.0.1:{port}\ndrain_delay=2\ndrain_timeout=20\ndecode_input_request=false"
SETTLED = 3.0  # seconds of load between two events


class Replicas:
    """Three servers with ports that stay theirs."""

    def __init__(self, home: Path, ports: list[int]) -> None:
        self._home = home
        self._ports = ports
        self.ran = home / "ran"
        self._servers = [self._started(at) for at in range(len(ports))]

    def _started(self, at: int) -> LiveServer:
        home = self._home / f"server{at}"
        if not home.exists():
            make_model(home / "store", "echo", HANDLER.format(ran=str(self.ran)))
        server = LiveServer(home, ("echo",), properties=SETTINGS.format(port=self._ports[at])).wait()
        server.ready("echo")
        return server

    def restart(self) -> None:
        """Stop and start one server after the other, as a rolling update does."""
        for at, server in enumerate(self._servers):
            if server.stop() != 0:
                raise SystemExit(f"server {at} ended badly")
            self._servers[at] = self._started(at)
            time.sleep(SETTLED)

    def kill(self) -> None:
        """Kill one server and start it again."""
        self._servers[0].process.send_signal(signal.SIGKILL)
        self._servers[0].stop()
        time.sleep(SETTLED)
        self._servers[0] = self._started(0)

    def stop(self) -> None:
        for server in self._servers:
            server.stop()


@contextlib.contextmanager
def proxy(name: str, program: str, folder: Path, port: int, servers: list[int]) -> Iterator[None]:
    """Run a proxy by its configuration in deploy/proxies, whose ports are replaced."""
    text = (PROXIES / FILES[name]).read_text()
    for at, to in zip((8000, 8091, 8092, 8093), (port, *servers), strict=True):
        text = text.replace(str(at), str(to))
    folder.mkdir()
    config = folder / FILES[name]
    config.write_text(text)
    words = [word.format(config=config, folder=folder) for word in COMMANDS[name]]
    with (folder / "output").open("w") as output:
        process = subprocess.Popen([program, *words], cwd=folder, stdout=output, stderr=output)
    try:
        eventually(lambda: process.poll() is not None or _listens(port))
        if process.poll() is not None:
            raise SystemExit(f"{name} did not start: {(folder / 'output').read_text()}")
        yield
    finally:
        process.terminate()
        process.wait(60)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def phase(port: int, ran: Path, event: object) -> tuple[Account, int]:
    """Return what became of the requests that were sent around an event, and how many ran twice."""
    ran.write_bytes(b"")
    load = Load(port, "/predictions/echo")
    load.start()
    try:
        eventually(lambda: load.answered > 100)
        event()  # type: ignore[operator]
        time.sleep(SETTLED)
    finally:
        account = load.stop()
    counted = Counter(ran.read_bytes().split())
    return account, sum(1 for count in counted.values() if count > 1)


def main(words: list[str]) -> int:
    failed = False
    print("| proxy | event | sent | answered | refused | lost | twice |\n|---|---|---|---|---|---|---|")
    for word in words or list(FILES):
        name, _, program = word.partition("=")
        program = program or shutil.which(name) or ""
        if not program:
            raise SystemExit(f"{name} is not in the path: give {name}=PATH")
        with tempfile.TemporaryDirectory() as folder, kept_ports(4) as ports:
            replicas = Replicas(Path(folder), ports[1:])
            try:
                with proxy(name, program, Path(folder) / "proxy", ports[0], ports[1:]):
                    for event, do, most in (
                        ("rolling restart", replicas.restart, 0),
                        ("SIGKILL of one", replicas.kill, CLIENTS),
                    ):
                        account, twice = phase(ports[0], replicas.ran, do)
                        row = (name, event, account.sent, account.answered, account.refused, account.lost, twice)
                        print("| " + " | ".join(map(str, row)) + " |", flush=True)
                        failed |= account.lost > most or twice > 0
                        for cause, count in account.causes.items():
                            print(f"  {count} times: {cause}", file=sys.stderr)
            finally:
                replicas.stop()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
