"""ProcessEnds: what connects the front with a worker's process on this host, until the process has its own ends."""

from __future__ import annotations

import socket

from .lent_requests import LentRequests
from .shared_memory import Requests, Results, shared

# Bytes that one side may send ahead of the other's reading. With the system's default of 208 KiB, a body of 1 MB costs
# five switches between the processes. The system may silently allow less than this.
_AHEAD = 1 << 20


class ProcessEnds:
    """A connection and, with `requests`, shared memory for what comes and goes by it.

    `ours`, `results` and `lent` are the front's.
    """

    def __init__(self, requests: Requests | None) -> None:
        """Make them. Raises OSError."""
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.results: Results | None = None
        self.lent: LentRequests | None = None
        self._far: socket.socket | None = None
        try:
            for end in (self.ours, self.theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _AHEAD)
            self.ours.setblocking(False)
            if requests is not None and (results := shared(Results)) is not None:
                control, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                self.results, self.lent = results, LentRequests(requests, control)
        except BaseException:
            self.close()
            raise

    @property
    def passed(self) -> list[int]:
        """The descriptors that the process gets: the connection and, if there is one, the memory's two."""
        passed = [self.theirs.fileno()]
        if self._far is not None and self.results is not None:
            passed += [self._far.fileno(), self.results.descriptor]
        return passed

    def handed_over(self) -> None:
        """Close the process's ends, which it has by now."""
        self.theirs.close()
        if self._far is not None:
            self._far.close()

    def close(self) -> None:
        """Close everything, since there is no process."""
        self.handed_over()
        self.ours.close()
        if self.lent is not None:
            self.lent.close()
