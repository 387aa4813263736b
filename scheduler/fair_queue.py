"""FairQueue: the jobs that wait, with a fair share for each client, by its weight and what its jobs cost. Pure.

Clients take turns (`turns.py`), so that over any time those that have jobs waiting are served by their weights, whether
they ask for many small things or for few large ones. A client that sends little is next after about one job of each
other, however long their backlogs are. Among a client's own jobs, arrival and priority decide, as in JobQueue.

Clients may be listed with weights. Each other one has the default weight; if the others have a weight together
(`SharePolicy.others`), they take turns among themselves whenever it is the turn of all of them: whoever invents clients
gets no more than that. At most MOST_SHARES of them have shares of their own at a time; further ones share one, first
come, first served, until none of these waits any more, which keeps each client's jobs in order.

When the queue is full, a job of a client that has less waiting for its weight takes the place of the last job of the
client that has most. So a burst fills the queue for itself only.

What a job costs is up to the batcher: tokens where text is generated, else 1. A job costs a logarithm of the clients
that wait; only the prediction whether it would be late (`cost_before`) looks at all of these.
"""

from __future__ import annotations

from collections.abc import Iterator

from .job import Job
from .policy import SharePolicy
from .queue import JobQueue
from .turns import Share, Turns

MOST_SHARES = 1000  # shares of clients that aren't listed
ALONE_AFTER = 60.0  # s without a change of the client, after which whoever sends is taken to be alone


class FairQueue:
    """A queue of jobs by their `client` and `cost`. Jobs must be added in order of `arrived`.

    `jobs` are all of them, by arrival and priority: to be read, not changed.
    """

    __slots__ = ("_changed", "_displaced", "_fresh", "_group", "_latest", "_most", "_policy", "_turns", "jobs")

    def __init__(self, policy: SharePolicy, most: int = MOST_SHARES) -> None:
        self._policy = policy
        self._most = most
        self.jobs = JobQueue()  # all of them, by arrival and priority
        self._turns = Turns()
        self._group: Share | None = None
        if policy.others is not None:
            self._group = Share(None, policy.others, self._turns, within=Turns())
        self._displaced: list[Job] = []
        self._fresh = False  # whether a job was added since `displaced` was asked
        self._latest: str | None = None  # the client of the latest job
        self._changed = float("-inf")  # when (s) the latest client was another one than the one before

    def __len__(self) -> int:
        return len(self.jobs)

    def __iter__(self) -> Iterator[Job]:
        """Iterate over the jobs in the order in which they will be served, if no other comes."""
        return iter(self._turns)

    @property
    def first(self) -> Job:
        """The job whose turn it is. There must be one."""
        return next(iter(self._turns))

    @property
    def oldest_arrival(self) -> float:
        """The arrival (s) of the job that waits longest. The queue must not be empty."""
        return self.jobs.oldest_arrival

    @property
    def next_expiry(self) -> float | None:
        """A time (s) before which no job expires; None if no job ever does."""
        return self.jobs.next_expiry

    def shared(self, now: float) -> bool:
        """Return whether several clients have sent jobs of late."""
        return now - self._changed < ALONE_AFTER

    def count_before_exclusive(self, most: int) -> int:
        """Return how many jobs stand before the first exclusive one, counted up to `most`."""
        return next((before for before, job in enumerate(self) if job.exclusive or before == most), most)

    def count_before(self, job: Job) -> int:
        """Return about how many jobs a new job, of which each costs 1, would wait behind."""
        return round(self.cost_before(job))

    def cost_before(self, job: Job) -> float:
        """Return about what the jobs cost that will be served before a new job."""
        own = self._share(job.client)
        before = own.backlog * own.jobs.count_before(job) / own.waiting if own.waiting else 0.0
        share: Share | None = own
        while share is not None:
            turn = (before + job.cost) / share.weight
            before += sum(min(each.backlog, turn * each.weight) for each in share.turns.waiting() if each is not share)
            share = share.group
        return before

    # ---- jobs that come

    def add(self, job: Job) -> None:
        """Queue a job behind all others of its client and priority."""
        self.jobs.add(job)
        share = self._share(job.client)
        share.jobs.add(job)
        _added(share, job)
        self._fresh = True
        if job.client != self._latest:
            if self._latest is not None:
                self._changed = job.arrived
            self._latest = job.client

    def make_room(self, job: Job) -> bool:
        """Displace a job so that `job` can be added to a full queue; return False if that would be the job's own.

        False, too, if jobs were added since `displaced` was asked: the caller may run some of these, and ask once more.
        """
        if self._fresh:
            return False
        own: Share | None = self._share(job.client)
        way: list[Share] = []
        while own is not None:
            way.insert(0, own)
            own = own.group
        for share in way:
            longest = share.turns.longest
            if longest is not share:
                if longest.measure > (share.backlog + job.cost) / share.weight:
                    break
                return False
        else:
            return False
        last = longest.last
        self.remove(last)
        self._displaced.append(last)
        return True

    def displaced(self) -> list[Job]:
        """Return the jobs that were displaced since this was last asked."""
        self._fresh = False
        gone, self._displaced = self._displaced, []
        return [job for job in gone if not job.cancelled]

    # ---- jobs that leave

    def take(self, size: int) -> tuple[Job, ...]:
        """Remove and return the first `size` jobs, and charge their clients. The queue must hold as many."""
        return tuple([self._take_first() for _ in range(size)])

    def _take_first(self) -> Job:
        turns = self._turns
        share = turns.first
        if share.within is not None:
            within = share.within.first
            (job,) = within.jobs.take(1)
            share.within.served(within, job.cost)
        else:
            (job,) = share.jobs.take(1)
        turns.served(share, job.cost)
        self.jobs.remove(job)
        return job

    def requeue(self, jobs: tuple[Job, ...]) -> None:
        """Put jobs that were taken and did not run in front of all others of their clients, in their old order.

        Their clients are not charged for them.
        """
        for job in sorted((*self.jobs.clear(), *jobs), key=_number):
            self.jobs.add(job)
        for job in reversed(jobs):
            share = self._share(job.client)
            share.jobs.requeue((job,))
            _added(share, job)
            _settle(share, job.cost)

    def settle(self, client: str, cost: int) -> None:
        """Make good that a job of this client has cost so much less than it was charged with."""
        _settle(self._share(client), cost)

    def remove(self, job: Job) -> bool:
        """Remove a job; return False if it isn't in the queue."""
        if not self.jobs.remove(job):
            return False
        self._leaves(job)
        return True

    def expire(self, now: float) -> list[Job]:
        """Remove and return the jobs whose `expires` has passed, in the order of that."""
        expired = self.jobs.expire(now)
        for job in expired:
            self._leaves(job)
        return expired

    def clear(self) -> list[Job]:
        """Remove and return all jobs, by arrival and priority."""
        left = self.jobs.clear()
        for job in left:
            self._leaves(job)
        return left

    # ---- within

    def _leaves(self, job: Job) -> None:
        own = self._share(job.client)
        own.jobs.remove(job)
        share: Share | None = own
        while share is not None:
            share.turns.left(share, job.cost)
            share = share.group

    def _share(self, client: str) -> Share:
        """Return the share of a client, which may be new, and then isn't known to others until a job is added to it."""
        policy, turns, group = self._policy, self._turns, self._group
        weight = policy.listed.get(client)
        if weight is not None:
            return turns.shares.get(client) or Share(client, weight, turns)
        if group is not None:
            assert group.within is not None
            turns = group.within
        shares = turns.shares
        share = shares.get(client)
        if share is None:
            crowd = shares.get(None)
            if crowd is not None and crowd.waiting:
                return crowd
            if len(shares) < self._most:
                return Share(client, policy.default, turns, group=group)
            share = crowd or Share(None, policy.default, turns, group=group)
        return share


def _number(job: Job) -> int:
    return job.seq


def _added(share: Share | None, job: Job) -> None:
    while share is not None:
        share.turns.added(share, job.cost)
        share = share.group


def _settle(share: Share | None, cost: int) -> None:
    while share is not None:
        share.turns.settle(share, cost)
        share = share.group
