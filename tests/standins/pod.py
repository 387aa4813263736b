"""A pod: a program with a network, processes and folders of its own, so that it may have a platform's ports and paths.

`run_pod` starts this file as root in namespaces of its own. It mounts folders, runs the command as another user without
capabilities, asks it what the test wants to know, ends it with SIGTERM, and returns what was answered and printed.
"""

from __future__ import annotations

import base64
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypedDict

_NAMESPACES = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc"]
_PATIENCE = 60.0  # seconds, to end and not to measure
_SET_FLAGS, _UP = 0x8914, 1  # SIOCSIFFLAGS, IFF_UP


class Asked(TypedDict, total=False):
    """A request: over HTTP, or over gRPC if there is a `message`. It is repeated until the status is `until`."""

    port: int
    method: str
    path: str
    body: str
    message: str
    until: int


class Seen(TypedDict):
    """What a pod did: its answers as (status, text), its exit code and its output."""

    answers: list[tuple[int, str]]
    code: int
    output: str


@cache
def available() -> bool:
    """Whether this process may make a pod."""
    if os.geteuid() != 0 or not (shutil.which("setpriv") and shutil.which("unshare")):
        return False
    return subprocess.run([*_NAMESPACES, "true"], capture_output=True, check=False).returncode == 0


def run_pod(
    command: Sequence[str],
    asked: Sequence[Asked],
    *,
    mounts: Mapping[str, Path],
    environment: Mapping[str, str],
    folder: Path,
    uid: int = 0,
) -> Seen:
    """Run a command in a pod and ask it; `mounts` are the folders of this machine by where the pod has them."""
    wanted = {
        "command": list(command), "asked": list(asked), "mounts": {at: str(of) for at, of in mounts.items()},
        "environment": dict(environment), "folder": str(folder), "uid": uid,
    }  # fmt: skip
    done = subprocess.run(
        [*_NAMESPACES, sys.executable, "-P", __file__],
        input=json.dumps(wanted), capture_output=True, text=True, timeout=3 * _PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _main() -> None:
    wanted = json.load(sys.stdin)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for place, source in wanted["mounts"].items():
        _mount(place, source)
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh", b"lo", _UP))
    command = wanted["command"]
    if wanted["uid"]:
        # The interpreter of these tests may lie in a home that others can't read.
        command = [
            "setpriv", f"--reuid={wanted['uid']}", f"--regid={wanted['uid']}", "--clear-groups", "--no-new-privs",
            "--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search",
            "--bounding-set=-all,+dac_read_search", "--", *command,
        ]  # fmt: skip
    with (Path(wanted["folder"]) / "output").open("w+") as output:
        process = subprocess.Popen(
            command, env=wanted["environment"], cwd=wanted["folder"], stdout=output, stderr=subprocess.STDOUT
        )
        answers = [_answer(each, process) for each in wanted["asked"]]
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            code = -1
        output.seek(0)
        json.dump({"answers": answers, "code": code, "output": output.read()}, sys.stdout)


def _mount(place: str, source: str) -> None:
    """Mount a folder; what is above it and not there is made on a file system of its own, which ends with the pod."""
    first = Path(place)
    while not first.parent.is_dir():
        first = first.parent
    if not first.is_dir() or first != Path(place):
        subprocess.run(["mount", "-t", "tmpfs", "pod", first.parent], check=True)
    Path(place).mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", source, place], check=True)


def _answer(asked: Asked, process: subprocess.Popen[bytes]) -> tuple[int, str]:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            seen = _call(asked) if "message" in asked else _request(asked)
        except (OSError, http.client.HTTPException) as error:
            seen = -1, str(error)
        if seen[0] == asked.get("until", seen[0]) or process.poll() is not None or time.monotonic() > deadline:
            return seen
        time.sleep(0.1)


def _request(asked: Asked) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", asked["port"], timeout=_PATIENCE)
    try:
        headers = {"Content-Type": "application/json"} if "body" in asked else {}
        connection.request(asked["method"], asked["path"], asked.get("body"), headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def _call(asked: Asked) -> tuple[int, str]:
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{asked['port']}") as channel:
        try:
            answer: Any = channel.unary_unary(asked["path"])(base64.b64decode(asked["message"]), timeout=_PATIENCE)
        except grpc.RpcError as error:
            told: Any = error
            return int(told.code().value[0]), str(told.details())
    return 0, base64.b64encode(answer).decode()


def _reap() -> None:
    """Go on in a child, and stay as the process that reaps what others leave behind, as the first of a pod does."""
    child = os.fork()
    while child:
        ended, status = os.wait()
        if ended == child:
            os._exit(os.waitstatus_to_exitcode(status) & 255)


if __name__ == "__main__":
    _reap()
    _main()
