"""Clients that send requests with numbers of their own, and count what became of each."""

from __future__ import annotations

import http.client
import itertools
import threading
from collections import Counter
from dataclasses import dataclass, field

CLIENTS = 8


@dataclass(slots=True)
class Account:
    """What became of the requests of a phase; `causes` are those of the lost ones."""

    answered: int = 0
    refused: int = 0
    causes: Counter[str] = field(default_factory=Counter[str])

    @property
    def lost(self) -> int:
        return self.causes.total()

    @property
    def sent(self) -> int:
        return self.answered + self.refused + self.lost


class Load:
    """Clients that send one request after the other to a proxy's port, from `start` to `stop`."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._path = path
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._account = Account()
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> Account:
        """End all clients behind their last answers, and return what has become of the requests."""
        self._ending.set()
        for thread in self._threads:
            thread.join()
        return self._account

    @property
    def answered(self) -> int:
        return self._account.answered

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._ending.is_set():
            number = str(next(self._numbers))
            try:
                connection.request("POST", self._path, number, {"Content-Type": "text/plain"})
                response = connection.getresponse()
                status, body = response.status, response.read().decode(errors="replace")
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                status, body = 0, type(error).__name__
            with self._lock:
                if (status, body) == (200, number):
                    self._account.answered += 1
                elif status == 503 and "ServiceUnavailableException" in body:
                    self._account.refused += 1
                else:
                    self._account.causes[f"{status} {' '.join(body.split())[:200]}"] += 1
        connection.close()
