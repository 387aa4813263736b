"""What systemd is told: readiness, reloads, signs of life; and what it passes."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from torchserve.cli.service_manager import ServiceManager, passed_sockets


class Systemd:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.environment = {"NOTIFY_SOCKET": address.replace("\0", "@")}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)

    def told(self) -> list[str]:
        self._socket.settimeout(30)
        return self._socket.recv(65536).decode().split("\n")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["file", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    found = Systemd(str(tmp_path / "notify") if request.param == "file" else f"\0torchserve-test-{os.getpid()}")
    yield found
    found.close()


def test_what_is_told(systemd: Systemd) -> None:
    manager = ServiceManager(systemd.environment)
    manager.ready("Serving 2 models\nREADY=0")
    assert systemd.told() == ["READY=1", "STATUS=Serving 2 models READY=0"]
    done: list[str] = []
    manager.reload(lambda: done.append(systemd.told()[0]))
    assert done == ["RELOADING=1"]
    assert systemd.told()[0] == "READY=1"
    manager.stopping("Leaving")
    assert systemd.told() == ["STOPPING=1", "STATUS=Leaving"]
    assert systemd.environment == {}, "workers are not to tell it anything"


async def test_signs_of_life_come_from_the_loop_and_a_status_once(systemd: Systemd) -> None:
    systemd.environment |= {"WATCHDOG_USEC": "2000", "WATCHDOG_PID": str(os.getpid())}
    manager = ServiceManager(systemd.environment)
    assert manager.interval == 0.001
    living = asyncio.create_task(manager.live(lambda: "Serving"))
    assert await asyncio.to_thread(systemd.told) == ["WATCHDOG=1", "STATUS=Serving"]
    assert await asyncio.to_thread(systemd.told) == ["WATCHDOG=1"]
    living.cancel()


@pytest.mark.parametrize(
    "watchdog", [{"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}, {}]
)
async def test_without_a_watchdog_of_ours_there_are_no_signs(systemd: Systemd, watchdog: dict[str, str]) -> None:
    manager = ServiceManager(systemd.environment | watchdog)
    assert manager.interval > 1
    living = asyncio.create_task(manager.live(lambda: "Serving"))
    assert await asyncio.to_thread(systemd.told) == ["STATUS=Serving"]
    living.cancel()


@pytest.mark.parametrize("address", ["", "relative", "/nobody/there", "@nobody"])
async def test_a_manager_that_is_not_there_fails_nothing(address: str) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": address} if address else {})
    manager.ready("x")
    if not manager.listens:
        await manager.live(lambda: "x")


@pytest.mark.parametrize(("pid", "count"), [("", ""), ("", "1"), ("1", "1"), ("own", "-1"), ("own", "x"), ("own", "0")])
def test_descriptors_of_others_are_left_alone(caplog: pytest.LogCaptureFixture, pid: str, count: str) -> None:
    environment = {"LISTEN_PID": str(os.getpid()) if pid == "own" else pid, "LISTEN_FDS": count}
    assert passed_sockets(environment) == []
    assert environment == {}
    assert caplog.text == "", "none was looked at"
