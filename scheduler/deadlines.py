"""Deadlines: which jobs can still be answered in time, by what batches are known to cost. Pure."""

from __future__ import annotations

import math
from itertools import islice

from .errors import WouldBeLate
from .job import Job
from .latency_model import EQUAL, Costs
from .queue import JobQueue
from .runner_set import Crew

NEARLY = 1.1  # a smaller batch that costs at most this much more per job loses nothing worth a refusal


def too_late(job: Job, queue: JobQueue, crew: Crew, now: float) -> WouldBeLate | None:
    """Whether `job`, if it were queued now, would begin past its `expires` or be answered past its `deadline`."""
    staying = list(crew.staying())
    if not staying:
        return None
    runner = min(staying, key=lambda each: crew.done_at(each, now))
    costs = crew.costs(runner)
    if not costs.known:
        return None
    size = costs.ideal
    rounds, rest = divmod(queue.before(job.priority), size)
    begins = crew.done_at(runner, now) + rounds * costs.typical(size) / len(staying)
    # Behind a whole batch comes another whole one, as others come behind this job.
    last = costs.upper(size) if rounds else costs.typical(rest + 1)
    if job.deadline is not None and (done := begins + last) > job.deadline:
        return WouldBeLate(done - now, job.deadline - now)
    if job.expires is not None and begins > job.expires:
        return WouldBeLate(begins - now, job.expires - now)
    return None


def in_time(queue: JobQueue, size: int, start: float, costs: Costs, *, crowded: bool) -> tuple[int, Job | None]:
    """How many of the first `size` jobs may begin together at `start`, so that none of them is late.

    Or the job that has to go, because it can't be answered in time at all, or only at the cost of more of the others.
    While it is `crowded` a smaller batch is such a cost: what it leaves behind makes the next ones smaller still.
    """
    jobs = list(islice(queue, size))
    fits, tightest, earliest = 0, jobs[0], math.inf
    for count, job in enumerate(jobs, 1):
        if job.deadline is not None and job.deadline < earliest:
            tightest, earliest = job, job.deadline
        # A job that runs by itself gets its chance; company must not cost it that.
        if start + (costs.typical(1) if count == 1 else costs.upper(count)) > earliest:
            break
        fits = count
    if fits == size:
        return size, None
    if fits == 0:
        return 0, tightest
    if costs.typical(fits) * size <= (EQUAL if crowded else NEARLY) * costs.typical(size) * fits:
        return fits, None
    if crowded:
        return 0, tightest
    behind = min([job.deadline for job in jobs[fits:] if job.deadline is not None], default=math.inf)
    if start + costs.typical(fits) + costs.upper(size - fits) <= behind:
        return fits, None
    return 0, tightest
