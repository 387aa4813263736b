"""Ports for servers that are told theirs: nobody else can have one meanwhile, though nothing listens there yet."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def kept_ports(count: int) -> Iterator[list[int]]:
    """So many, all different. Each is held by a socket that doesn't listen: the system gives it to nobody then, and a
    server that sets SO_REUSEADDR, as ours and TorchServe do, can listen there all the same.
    """
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in held:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", 0))
        yield [each.getsockname()[1] for each in held]
