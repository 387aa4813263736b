"""The errors with which the scheduler refuses. They name no model and no HTTP status: the caller adds those."""

from __future__ import annotations

from collections.abc import Sequence

from .gpu import Gpu

_MIB = 1 << 20


class SchedulerError(Exception):
    """The base of the scheduler's refusals."""


class QueueFull(SchedulerError):
    """The queue holds `limit` jobs already."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"queue is full ({limit} jobs)")
        self.limit = limit


class TooManySequences(QueueFull):
    """The refusal of a job that would begin a sequence when there are `limit` already."""


class SequenceEnded(SchedulerError):
    """The sequence `key`, to which the job belongs, is over."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the sequence {key} has ended")
        self.key = key


class JobExpired(SchedulerError):
    """The job waited in the queue for all of the `allowed` seconds."""

    def __init__(self, waited: float, allowed: float) -> None:
        super().__init__(f"expired after {waited:.3f} s in the queue")
        self.waited = waited
        self.allowed = allowed


class WouldBeLate(SchedulerError):
    """The job could not be answered in time: that would take `needed` s, and it has `left` s."""

    def __init__(self, needed: float, left: float) -> None:
        super().__init__(f"would take {needed:.3f} s and has {left:.3f} s left")
        self.needed = needed
        self.left = left


class TooManyTokens(SchedulerError):
    """A sequence of the job needs `needed` tokens at least, more than the `context` of any engine has."""

    def __init__(self, needed: int, context: int) -> None:
        super().__init__(f"needs {needed} tokens, and a context has {context}")
        self.needed = needed
        self.context = context


class GenerationLate(SchedulerError):
    """The base of the errors of a job that was given to an engine, and has waited for `waited` of `allowed` s."""

    def __init__(self, waited: float, allowed: float, generated: int) -> None:
        super().__init__(f"ended after {waited:.3f} of {allowed:.3f} s, with {generated} tokens")
        self.waited = waited
        self.allowed = allowed
        self.generated = generated


class FirstTokenLate(GenerationLate):
    """The error that no token has come in the time that the first one may take."""


class Stalled(GenerationLate):
    """The error that no further token has come in the time that each may take."""


class AnswerLate(GenerationLate):
    """The error that the job's deadline has passed while it generated."""


class QueueClosed(SchedulerError):
    """The queue accepts no more jobs."""


class OutcomeMismatch(SchedulerError):
    """A runner gave `outcomes` outcomes for a batch of `jobs` jobs."""

    def __init__(self, outcomes: int, jobs: int) -> None:
        super().__init__(f"{outcomes} outcomes for a batch of {jobs} jobs")
        self.outcomes = outcomes
        self.jobs = jobs


class NoRoom(SchedulerError):
    """The error that no GPU has room for `least` bytes; `rooms` are the GPUs asked, each with what it could promise."""

    def __init__(self, least: int, rooms: Sequence[tuple[Gpu, int]]) -> None:
        there = "; ".join(
            f"GPU {gpu.index} ({gpu.uuid}) has {max(0, room) // _MIB} MiB to give, {gpu.free // _MIB} of"
            f" {gpu.total // _MIB} MiB free"
            for gpu, room in rooms
        )
        super().__init__(f"no GPU has {-(-least // _MIB)} MiB for it: {there}")
        self.least = least


class GpuLoading(SchedulerError):
    """The GPU of choice, number `index`, is loading another model: its room is known only after that."""

    def __init__(self, index: int) -> None:
        super().__init__(f"GPU {index} is loading another model")
        self.index = index
