"""The backend process: `python -m torchserve.core.backend --fd N --name W-9000-m_1.0`. The only socket of this room.

Ends at the end of the stream, and with its parent.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

from ..payload import Body
from ..wire.frames import FrameError, FrameReader, encode
from ..wire.messages import Load, ToBackend
from .service import Service

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_MAX_FRAME = 1 << 36  # the front limits requests; this only tells a frame from garbage
_MAX_BUFFERS = 1024  # IOV_MAX


def main() -> int:
    arguments = _parse()
    _die_with_parent(arguments.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _prepare_output()
    if not sys.flags.safe_path:
        del sys.path[0]  # the front's working folder, where a stray json.py would otherwise be imported
    with socket.socket(fileno=arguments.fd) as sock:
        sock.set_inheritable(False)
        try:
            return _serve(sock, arguments.name)
        except (BrokenPipeError, ConnectionResetError):
            log.warning("%s: the front has closed the connection", arguments.name)
            return 0
        except FrameError as error:
            log.error("%s: the front broke the protocol: %s", arguments.name, error)
            return 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m torchserve.core.backend", description="A model worker's process.")
    parser.add_argument("--fd", type=int, required=True, help="number of the inherited, connected stream socket")
    parser.add_argument("--name", required=True, help="the worker's name, for its log lines")
    parser.add_argument("--parent", type=int, help="pid that must be the parent; otherwise it has died already")
    return parser.parse_args()


def _die_with_parent(parent: int | None) -> None:
    expected = os.getppid() if parent is None else parent
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != expected:  # it died before the kernel was asked
        sys.exit(f"the parent process {expected} has gone")


def _prepare_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(line_buffering=True, errors="backslashreplace")
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)


def _serve(sock: socket.socket, name: str) -> int:
    reader = FrameReader[ToBackend](ToBackend, _MAX_FRAME)
    service = Service(lambda buffers: _send(sock, buffers))
    while True:
        received = sock.recv_into(reader.get_buffer())
        if received == 0:
            if reader.pending:
                log.error("%s: the front closed the connection in the middle of a frame", name)
            return 0
        reader.buffer_updated(received)
        while (frame := reader.next_frame()) is not None:
            if isinstance(frame.message, Load):
                loaded = service.load(frame.message)
                _send(sock, encode(loaded))
                if loaded.code != 200:
                    _exit_now(1)
            else:
                service.respond(frame.message, frame.bodies)


def _exit_now(code: int) -> NoReturn:
    """End although the handler may have left threads running that nobody will stop."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _send(sock: socket.socket, buffers: Sequence[Body]) -> None:
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    first = 0
    while first < len(views):
        sent = sock.sendmsg(views[first : first + _MAX_BUFFERS])
        while first < len(views) and sent >= len(views[first]):
            sent -= len(views[first])
            first += 1
        if sent:
            views[first] = views[first][sent:]


if __name__ == "__main__":
    sys.exit(main())
