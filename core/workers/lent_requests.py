"""LentRequests: the requests' memory as one worker knows it, which is handed each new memory before a body in it."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from ..payload import Body
from .shared_memory import Requests


class LentRequests:
    """`control` is the front's end of a socket by which descriptors go to the worker."""

    def __init__(self, requests: Requests, control: socket.socket) -> None:
        self._requests = requests
        self._control = control
        self._control.setblocking(False)
        self._generation = -1  # of the memory that the worker has been handed last

    def place(self, bodies: Sequence[Body]) -> tuple[dict[int, int], list[memoryview]]:
        """As Requests.place. If the worker can't be handed the memory, nothing is placed: bodies go by its socket."""
        places, kept = self._requests.place(bodies)
        if places and self._generation != self._requests.generation:
            try:
                socket.send_fds(self._control, [b"."], [self._requests.descriptor])
            except OSError:
                return {}, []
            self._generation = self._requests.generation
        return places, kept

    def close(self) -> None:
        self._control.close()
