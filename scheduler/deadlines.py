"""Deadlines: which jobs can still be answered in time, by what batches are expected to take. Pure.

Two questions are asked. When a job arrives, `would_be_late` predicts when it would be answered if it were queued; a job
that would be late is refused at once. When a batch is about to be formed, `fit` says how many of its jobs may run
together so that none of them is late, or which job has to go instead.

`fit` weighs a smaller batch against refusing the job with the earliest deadline (the "tightest" one), which is what
makes the batch smaller:

| in time of the batch's jobs | and, in this order                              | then            |
|-----------------------------|-------------------------------------------------|-----------------|
| all                         |                                                 | run all         |
| none                        | the first job is late even by itself            | refuse it       |
| some                        | they take hardly longer per job than all would  | run these       |
| some                        | jobs were refused of late ("crowded")           | refuse tightest |
| some                        | the rest will be in time in the next batch      | run these       |
| some                        | one of the rest would be late instead           | refuse tightest |

Under overload a smaller batch costs other jobs their answer even where that can't be seen in the queue:
what it leaves behind makes the next batches smaller still, until all of them have one job.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import islice

from .errors import WouldBeLate
from .fair_queue import FairQueue
from .job import Job
from .latency_model import EQUAL_WITHIN, LatencyModel
from .queue import JobQueue
from .runner_set import RunnerSet

NEARLY = 1.1  # a smaller batch that takes at most so many times as long per job loses nothing that is worth a refusal


def would_be_late(job: Job, queue: JobQueue | FairQueue, runners: RunnerSet, now: float) -> WouldBeLate | None:
    """Return the refusal of a job that, queued now, would begin past its `expires` or be answered past its `deadline`.

    None if it would be in time, or nothing is known yet of what batches take.
    """
    forecast = runners.forecast(now)
    if forecast is None:
        return None
    rounds, rest = divmod(queue.count_before(job), forecast.size)
    begins = max(now, forecast.free_at) + forecast.behind + rounds * forecast.interval
    # Behind whole batches the job will be in a whole one as well, as others come behind it.
    own_batch = forecast.whole if rounds else forecast.latency.median(rest + 1)
    if job.deadline is not None and (done := begins + own_batch) > job.deadline:
        return WouldBeLate(done - now, job.deadline - now)
    if job.expires is not None and begins > job.expires:
        return WouldBeLate(begins - now, job.expires - now)
    return None


def fit(queue: Iterable[Job], size: int, start: float, latency: LatencyModel, *, crowded: bool) -> int | Job:
    """Return how many of the first `size` jobs may begin together at `start` (s), or the job that has to be refused.

    `crowded` says that jobs were refused of late. The module's head has the table of what follows from what.
    """
    jobs = list(islice(queue, size))
    earliest = min([job.deadline for job in jobs if job.deadline is not None], default=math.inf)
    if start + (latency.median(1) if size == 1 else latency.p90(size)) <= earliest:
        return size  # as nearly always
    in_time, tightest = _largest_in_time(jobs, start, latency)
    if in_time == 0:
        return tightest
    tolerance = EQUAL_WITHIN if crowded else NEARLY
    # Seconds per job are compared, both sides multiplied by both sizes.
    if latency.median(in_time) * size <= tolerance * latency.median(size) * in_time:
        return in_time
    if crowded:
        return tightest
    next_deadline = min((job.deadline for job in jobs[in_time:] if job.deadline is not None), default=math.inf)
    rest_done = start + latency.median(in_time) + latency.p90(size - in_time)
    return in_time if rest_done <= next_deadline else tightest


def _largest_in_time(jobs: Sequence[Job], start: float, latency: LatencyModel) -> tuple[int, Job]:
    """Return how many of the first `jobs` can run together from `start` on with none of them late. Not all can.

    Also return the tightest job: of those, and of the one that is too many, the one with the earliest deadline.
    """
    in_time, tightest, earliest = 0, jobs[0], math.inf
    while True:
        job = jobs[in_time]
        if job.deadline is not None and job.deadline < earliest:
            tightest, earliest = job, job.deadline
        # By itself a job runs if it will probably be in time; company must not cost it that, so there the p90 counts.
        if start + (latency.p90(in_time + 1) if in_time else latency.median(1)) > earliest:
            return in_time, tightest
        in_time += 1
