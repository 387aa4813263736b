"""A fair queue, the clients that put jobs into it, and the order in which these are served."""

from __future__ import annotations

from itertools import count

from torchserve.scheduler.fair_queue import FairQueue
from torchserve.scheduler.job import Job
from torchserve.scheduler.policy import SharePolicy

from .doubles import job as plain_job


class Clients:
    """A queue and what is put into it."""

    def __init__(self, policy: SharePolicy | None = None, most: int = 1000) -> None:
        self.queue = FairQueue(policy or SharePolicy(), most)
        self._numbers = count(1)

    def add(self, client: str, *costs: int, priority: int = 0, expires: float | None = None) -> list[Job]:
        made: list[Job] = []
        for cost in costs:
            made.append(self.new(client, cost, priority, expires))
            self.queue.add(made[-1])
        return made

    def new(self, client: str, cost: int = 1, priority: int = 0, expires: float | None = None) -> Job:
        number = next(self._numbers)
        made = plain_job(
            f"{client}{number}", float(number) / 1000, expires, client=client, cost=cost, priority=priority
        )
        made.seq = number
        return made

    def one_of_each(self, clients: str) -> None:
        for client in clients:
            self.add(client, 1)

    def served(self, most: int = 10_000) -> list[Job]:
        found: list[Job] = []
        while self.queue and len(found) < most:
            first = self.queue.first
            assert self.queue.take(1) == (first,)
            found.append(first)
        return found

    def displaced_by(self, client: str, cost: int = 1, *, put_back: bool = True) -> Job | None:
        """Ask for room, and look who has to go; unless it is `put_back`, that has left."""
        self.queue.displaced()
        if not self.queue.make_room(self.new(client, cost)):
            assert self.queue.displaced() == []
            return None
        (gone,) = self.queue.displaced()
        if put_back:
            self.queue.add(gone)
        return gone


def names(jobs: list[Job]) -> str:
    return "".join(each.client for each in jobs)
