"""What the scheduler refuses with. No model names and no HTTP: whoever calls adds those."""

from __future__ import annotations


class SchedulerError(Exception):
    """Base of the scheduler's refusals."""


class QueueFull(SchedulerError):
    """The queue holds `limit` jobs already."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"queue is full ({limit} jobs)")
        self.limit = limit


class JobExpired(SchedulerError):
    """The job waited in the queue past its deadline."""

    def __init__(self, waited: float) -> None:
        super().__init__(f"expired after {waited:.3f} s in the queue")
        self.waited = waited


class LaneClosed(SchedulerError):
    """The lane takes no more jobs."""


class OutcomeMismatch(SchedulerError):
    """A runner answered `outcomes` times for a batch of `jobs` jobs."""

    def __init__(self, outcomes: int, jobs: int) -> None:
        super().__init__(f"{outcomes} outcomes for a batch of {jobs} jobs")
        self.outcomes = outcomes
        self.jobs = jobs
