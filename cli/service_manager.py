"""What systemd and the server tell each other: readiness, state, signs of life, and sockets that are open already.

The protocol is that of sd_notify: datagrams of `NAME=value` lines to the socket that NOTIFY_SOCKET names, and
descriptors from 3 on, LISTEN_FDS of them, for the process LISTEN_PID. The variables are removed from the environment
once they are read, as they are not meant for workers. Without them everything here does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, MutableMapping

log = logging.getLogger(__name__)

_FIRST = 3  # the first descriptor that is passed
_MOST = 64  # passed sockets
_TICK = 5.0  # seconds between two looks at the state where there is no watchdog


class ServiceManager:
    """The service manager that has started this process, if it wants to be told how the process fares.

    What it is told must not fail the server: errors of the socket are passed over.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        self._address = _address(environment.pop("NOTIFY_SOCKET", ""))
        microseconds = environment.pop("WATCHDOG_USEC", "")
        mine = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog = int(microseconds) / 1e6 if mine and microseconds.isdecimal() and int(microseconds) else None
        self._status = ""

    @property
    def listens(self) -> bool:
        return self._address is not None

    @property
    def interval(self) -> float:
        """The seconds between two signs of life: half of what the watchdog allows."""
        return _TICK if self._watchdog is None else min(self._watchdog / 2, _TICK)

    def ready(self, status: str) -> None:
        """Tell that the server listens at all of its addresses."""
        self._status = status
        self._send("READY=1", f"STATUS={status}")

    def reload(self, work: Callable[[], None]) -> None:
        """Do `work`, told as a reload; its time is what Type=notify-reload asks for."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        work()
        self._send("READY=1", f"STATUS={self._status}")

    def stopping(self, status: str) -> None:
        self._status = status
        self._send("STOPPING=1", f"STATUS={status}")

    async def live(self, status: Callable[[], str]) -> None:
        """Give signs of life from the event loop, and tell the status when it changes, until cancelled."""
        while self.listens:
            lines = [] if self._watchdog is None else ["WATCHDOG=1"]
            if (now := status()) != self._status:
                self._status = now
                lines.append(f"STATUS={now}")
            if lines:
                self._send(*lines)
            await asyncio.sleep(self.interval)

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)  # a service manager that doesn't read must not stop the event loop
            channel.sendto("\n".join(line.replace("\n", " ") for line in lines).encode(), self._address)


def passed_sockets(environment: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """Return the listening sockets that the service manager has opened for this process."""
    pid, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    return [each for at in range(min(int(count), _MOST)) if (each := _socket(_FIRST + at)) is not None]


def _socket(descriptor: int) -> socket.socket | None:
    """Return the socket of a descriptor, which no worker is to inherit; None, with a warning, if it doesn't listen."""
    try:
        found = socket.socket(fileno=descriptor)
        found.setblocking(False)
        os.set_inheritable(descriptor, False)
        listening = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        log.warning("Descriptor %d, which the service manager has passed, is no socket: %s", descriptor, error.strerror)
        return None
    if not listening:
        log.warning("The socket that the service manager has passed as %d does not listen: it is not used", descriptor)
        found.detach()
        return None
    return found


def _address(name: str) -> str | None:
    """Return the address of a unix socket in the way of Python; `@` begins one without a file."""
    if name.startswith("@"):
        return f"\0{name[1:]}"
    return name if name.startswith("/") else None
