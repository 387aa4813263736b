"""FairQueue: the jobs that wait, with a fair share for each client, by what their jobs cost. Pure.

Clients take turns, by deficit round robin: in each round a client's credit grows by QUANTUM, and its first job is next
once the credit covers its cost. So over any time clients that have jobs waiting get equal numbers of tokens, whether
they ask for many short answers or for few long ones; a client that sends little is served before another's backlog.

    a: 300 300 300 …    ─►  rounds of 256:  a waits (256), b's 100 runs; a's first runs (512 - 300 = 212), b's next …
    b: 100

Among a client's own jobs, arrival and priority decide, as in JobQueue. A client's credit is lost when none of its jobs
waits, so that nobody saves it up for a burst; what its jobs turn out to have cost less (or more) is made good for as
long as some do.

When the queue is full, a job of a client that has less waiting takes the place of the last job of the client that has
most. So a burst fills the queue for itself only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from .job import Job
from .queue import JobQueue

QUANTUM = 256  # tokens


class _Share:
    """A client's jobs, what all of them cost together, and the client's credit."""

    __slots__ = ("client", "cost", "credit", "jobs")

    def __init__(self, client: str) -> None:
        self.client = client
        self.jobs = JobQueue()
        self.cost = 0
        self.credit = 0

    @property
    def first(self) -> Job:
        """The job that is next of this client. There must be one."""
        return next(iter(self.jobs))


class FairQueue:
    """A queue of jobs by their `client` and `cost`. Jobs must be added in order of `arrived`."""

    __slots__ = ("_shares", "_size")

    def __init__(self) -> None:
        self._shares: OrderedDict[str, _Share] = OrderedDict()  # in the order of their turns
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, job: Job) -> None:
        """Queue a job behind all others of its client and priority."""
        share = self._shares.get(job.client)
        if share is None:
            share = self._shares[job.client] = _Share(job.client)
        share.jobs.add(job)
        share.cost += job.cost
        self._size += 1

    def next(self) -> Job:
        """Return the job whose turn it is; it stays in the queue. There must be one."""
        shares = self._shares
        if len(shares) == 1:
            return next(iter(shares.values())).first
        lacking = {share.client: share.first.cost - share.credit for share in shares.values()}
        if lacking[next(iter(shares))] > 0:
            # Rounds in which nobody's credit suffices are gone through at once.
            idle = max(0, -(-min(lacking.values()) // QUANTUM) - 1) * QUANTUM
            for share in shares.values():
                share.credit += idle
            while (share := next(iter(shares.values()))).credit < share.first.cost:
                share.credit += QUANTUM
                shares.move_to_end(share.client)
        return next(iter(shares.values())).first

    def take(self, job: Job) -> None:
        """Remove a job that `next` has returned, and charge its client."""
        self._shares[job.client].credit -= job.cost
        self.remove(job)

    def settle(self, client: str, tokens: int) -> None:
        """Make good that a job of this client has cost so many tokens less than it was charged with."""
        share = self._shares.get(client)
        if share is not None:
            share.credit += tokens

    def remove(self, job: Job) -> bool:
        """Remove a job; return False if it isn't in the queue."""
        share = self._shares.get(job.client)
        if share is None or not share.jobs.remove(job):
            return False
        self._forget(share, job)
        return True

    def displaced_by(self, job: Job) -> Job | None:
        """Return the job that has to go so that `job` can be added to a full queue; None: `job` itself has to."""
        own = self._shares.get(job.client)
        largest = max(self._shares.values(), key=lambda share: share.cost)
        if largest.cost <= job.cost + (own.cost if own else 0):
            return None
        *_, last = largest.jobs
        return last

    def cost_before(self, job: Job) -> float:
        """Return about what the jobs cost that will be served before a new job."""
        own = self._shares.get(job.client)
        before = own.cost * own.jobs.count_before(job.priority) / len(own.jobs) if own else 0.0
        turn = before + job.cost
        return before + sum(min(share.cost, turn) for share in self._shares.values() if share is not own)

    def clear(self) -> list[Job]:
        """Remove and return all jobs, by arrival."""
        left = sorted((job for share in self._shares.values() for job in share.jobs), key=lambda job: job.seq)
        self._shares.clear()
        self._size = 0
        return left

    @property
    def next_expiry(self) -> float | None:
        """A time (s) before which no job expires; None if no job ever does."""
        return min((at for share in self._shares.values() if (at := share.jobs.next_expiry) is not None), default=None)

    def expire(self, now: float) -> Iterator[Job]:
        """Remove and yield the jobs whose `expires` has passed."""
        for share in list(self._shares.values()):
            for job in share.jobs.expire(now):
                self._forget(share, job)
                yield job

    def _forget(self, share: _Share, job: Job) -> None:
        share.cost -= job.cost
        self._size -= 1
        if not share.jobs:
            self._shares.pop(share.client, None)  # of several that expire together the first one has done it
