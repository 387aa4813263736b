"""The backend process: `python -m torchserve.core.backend --fd N --name W-9000-m_1.0`.

With `--forks` it forks workers as the front orders, and becomes one in each process that it forks. On a host that
is not the front's it connects itself, by a ticket, and its parent is a minder. It ends when the front closes the
connection, and when its parent dies. No other modules of this folder but secure_stream and fork_server open a socket.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import logging
import os
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import msgspec

from ..container_limits import whole_cores
from ..payload import Body
from ..process_stacks import keep_stacks
from ..wire.frames import FrameError, FrameReader, encode
from ..wire.malloc_tuning import keep_freed_memory
from ..wire.messages import Load, ToBackend
from ..wire.remote_messages import Ticket
from .channel import Channel
from .concurrent import converse
from .conversation import Conversation
from .fork_server import serve
from .kept_heap import keep_heap
from .parent_death import die_with_parent
from .ranks import Ends, Others, RankDied, follow, take_ends
from .secure_stream import connect
from .service import Service
from .shared_memory import Inbox, Outbox
from .signals import take_signals
from .stream import MAX_FRAME, StreamCut, send

log = logging.getLogger(__name__)


def main() -> int:
    arguments = _parse(sys.argv[1:])
    if arguments.forks:
        die_with_parent(arguments.parent)
        forked = serve(arguments.fd)
        if forked is None:
            return 0
        arguments = _parse(forked)
    die_with_parent(arguments.parent)
    take_signals(arguments.name)
    keep_stacks()
    keep_freed_memory()
    _prepare_output()
    if not sys.flags.safe_path:
        del sys.path[0]  # the front's working folder: a stray json.py there would be imported
    try:
        ends = _ends(arguments)
    except (OSError, msgspec.MsgspecError) as error:
        log.error("%s: the front can't be reached: %s", arguments.name, error)
        return 1
    try:
        code = _converse(ends, arguments.ranks or "", arguments.memory)
    except ConnectionError:
        log.warning("%s: the front has closed the connection", arguments.name)
        code = 0
    except StreamCut:
        log.error("%s: the front closed the connection in the middle of a frame", arguments.name)
        code = 0
    except FrameError as error:
        log.error("%s: the front broke the protocol: %s", arguments.name, error)
        code = 1
    except RankDied as error:
        log.error("%s: %s", arguments.name, error)
        code = 1
    return code if code == 0 else _exit_now(code)


def _ends(arguments: argparse.Namespace) -> Ends:
    """Return the connections of this process. Raises OSError, msgspec.MsgspecError."""
    if arguments.ticket:
        return Ends(0, connect(msgspec.json.decode(sys.stdin.buffer.readline(), type=Ticket)), ())
    if arguments.ranks is not None:
        return take_ends()
    front = socket.socket(fileno=arguments.fd)
    front.set_inheritable(False)
    return Ends(0, front, ())


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m torchserve.core.backend", description="A model worker's process.")
    parser.add_argument("--fd", type=int, help="number of the inherited, connected stream socket")
    parser.add_argument(
        "--memory",
        type=int,
        nargs=2,
        help="a socket's, which brings requests' memory, and results'",
    )
    parser.add_argument("--forks", action="store_true", help="fork workers, as ordered by the socket of --fd")
    parser.add_argument("--ticket", action="store_true", help="connect to a front by the ticket on standard input")
    parser.add_argument("--ranks", help="this is one rank of a model of that parallelType, started by torchrun")
    parser.add_argument("--name", default="", help="the worker's name, for its log lines")
    parser.add_argument("--parent", type=int, help="pid that must be the parent; otherwise it has died already")
    return parser.parse_args(words)


def _prepare_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(encoding="utf-8", line_buffering=True, errors="backslashreplace")  # as the front reads it
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)


def _converse(ends: Ends, kind: str, memory: Sequence[int] | None) -> int:
    if ends.rank > 0:
        return follow(ends, Service(lambda _: None))
    owner = os.getpid()

    def say(buffers: list[Body]) -> None:
        if os.getpid() != owner:
            log.warning(
                "a process that the handler has forked came back from it, and is ended: only the worker answers"
            )
            _exit_now(1)
        send(ends.front, buffers)

    inbox, outbox = (Inbox(socket.socket(fileno=memory[0])), Outbox(memory[1])) if memory else (None, None)
    service = Service(say, outbox)
    others = Others(ends.lines, kind)
    reader: FrameReader[ToBackend] = FrameReader(ToBackend, MAX_FRAME, inbox.view if inbox else None)
    channel = Channel(ends.front, reader, service.calls)
    service.calls.connect(channel.wait)
    frame = channel.next_frame()
    if frame is None:
        return 0
    load = frame.message
    assert isinstance(load, Load)
    loop = asyncio.new_event_loop() if load.asynchronous else None
    if loop is not None:
        # The number is said, as Python 3.13 would ask a system call for it that sandboxes refuse.
        loop.set_default_executor(ThreadPoolExecutor(whole_cores() + 4, thread_name_prefix="asyncio"))
        asyncio.set_event_loop(loop)  # for a handler that asks for the loop while it loads
    others.load(load)
    # Nothing is left for later where several requests or processes have the model at a time, nor where a stream may
    # hold a request without its socket showing that.
    alone = loop is None and not ends.lines and isinstance(ends.front, socket.socket)
    heap = keep_heap()  # before batches are timed, which a load may do
    loaded = service.load(load, defers=alone)
    if heap is not None:
        heap.watch()
    if loaded.code == 200:
        loaded = others.loaded() or loaded
    say(encode(loaded))
    if loaded.code != 200:
        return 1
    if loop is not None:
        converse(ends.front, reader, service, loop, yields=loaded.engine is not None)
        return 0
    return Conversation(channel, service, others).run()


def _exit_now(code: int) -> NoReturn:
    """Exit at once, even if the handler has left threads running that would keep the process alive."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the handler may have closed the stream
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
