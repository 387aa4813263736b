"""LentRequests: the requests' memory as one worker knows it, which is sent each new memory before a body in it."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from ..payload import Body
from .shared_memory import Requests


class LentRequests:
    """The lending of a model's requests' memory to one worker. `control` is the front's end of a socket for
    descriptors.
    """

    def __init__(self, requests: Requests, control: socket.socket) -> None:
        self._requests = requests
        self._control = control
        self._control.setblocking(False)
        self._generation = -1  # of the memory that was last sent to the worker

    def place(self, bodies: Sequence[Body]) -> tuple[dict[int, int], list[memoryview]]:
        """Place bodies as Requests.place does. If the descriptor can't be sent, none are placed: they go by the
        worker's socket.
        """
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
