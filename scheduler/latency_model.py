"""LatencyModel: how long a batch of each size takes on one kind of device, learnt from the batches that ran. Pure.

What is measured. For each size the latest WINDOW runs are kept; their median is what a batch of that size is expected
to take. The first run of a size often compiles or allocates, so a size is believed from MIN_RUNS runs on. If a size
has not run for STALE_AFTER batches, other things may run on the machine now: only its latest runs are kept then. The
90th percentile is the median times one factor for all sizes, which follows the runs a small step at a time, so that no
single slow run moves it far. Medians that move by less than MIN_CHANGE count as unmoved: decisions are cached until one
moves.

What is estimated. Between two sizes that ran, the median is interpolated, but never above what that many jobs take at
the smaller size's rate. Below the smallest and above the largest, SCALING of the time is taken to go by the size: a
larger batch looks cheaper per job than it may be until it has run, so that it gets tried.

Which size to run. `clearing_size(queued)` is the size with which all that wait are done soonest, if batches of it are
run one after the other and the rest in its own best way. `best_size` is that of an endless queue: a batch of it gains
nothing by waiting for more jobs.

What is tried (`next_size`). A size that looks worse may only have been measured at a bad moment, and one that never
ran may be better than it looks. So sizes of a short ladder (powers of two, or the padded sizes) are tried again, within
an exploration budget: EXPLORATION_SHARE of the time that batches take is credited to it, and a try is charged what it
is expected to lose against the clearing size. Sizes take turns, the one whose latest run is longest ago first, and it
is saved up for: were cheaper sizes let past it, it would never run. A try of a larger size that has begun is finished
at any price, up to MIN_RUNS runs, as one run alone says nothing. No size is tried that is more than MAX_GROWTH times
the largest that ran.

Padded batches count in the size that they are padded to.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

WINDOW = 15  # runs of one size that count: an old one is forgotten when as many newer have come
STALE_AFTER = 150  # batches of other sizes after which the runs of a size are stale
FRESH_RUNS = 3  # runs of a stale size that count when it runs again, the new one included
MIN_RUNS = 2  # runs before a size is believed
EQUAL_WITHIN = 1.02  # a smaller size that takes at most so much longer to clear the queue is as good: it answers sooner
MIN_CHANGE = 0.02  # share by which a median must move to count as moved
MAX_GROWTH = 4  # times the largest size that ran, the largest that may be tried
SCALING = 0.8  # share of a batch's time that is taken to grow with its size, beyond the sizes that ran
EXPLORATION_SHARE = 0.005  # share of the time that may be lost to exploration
MAX_BUDGET = 1.0  # s of that which may be saved up, or one run of the largest size if that takes longer
PERCENTILE = 0.9  # share of the runs that take at most `p90`
_FACTOR_STEP = 0.02  # how fast the factor of `p90` follows


class _Exploration(NamedTuple):
    """A size to try, what a try is expected to lose (s), and whether a try of it has begun and must be finished."""

    size: int
    loss: float
    begun: bool


class Measured(NamedTuple):
    """A record of one batch size: how many of its latest runs count, and their median (s)."""

    size: int
    runs: int
    median: float


class LatencyModel:
    """A model of the seconds that a batch takes, by its size from 1 to `largest`.

    `padded` are the sizes, ascending, to which workers pad batches; empty if they don't.
    """

    __slots__ = (
        "_best_size", "_budget", "_clearing_sizes", "_estimates", "_explorations", "_ladder", "_largest", "_last_run",
        "_marginal_savings", "_medians", "_p90_factor", "_padded", "_records", "_runs", "_sizes",
    )  # fmt: skip

    def __init__(self, largest: int, padded: Sequence[int] = ()) -> None:
        self._largest = largest
        self._padded = padded
        # Few sizes are worth trying for their own sake, or learning would never end.
        powers = [size for power in range(largest.bit_length()) if (size := 1 << power) < largest]
        self._ladder = padded or [*powers, largest]
        self._runs: dict[int, deque[float]] = {}
        self._medians: dict[int, float] = {}
        self._sizes: list[int] = []  # those that ran, ascending
        self._last_run: dict[int, int] = {}  # size -> `_records` at its latest run
        self._records = 0
        self._p90_factor = 1.0
        self._budget = 0.0
        # Caches, cleared when a median moves.
        self._best_size = 0
        self._estimates: dict[int, float] = {}  # medians of sizes that have not run
        self._clearing_sizes: dict[int, int] = {}
        self._marginal_savings: dict[int, float] = {}
        self._explorations: dict[int, _Exploration] = {}

    @property
    def known(self) -> bool:
        """Whether any batch was measured."""
        return bool(self._sizes)

    @property
    def best_size(self) -> int:
        """The size that gives the most jobs per second."""
        if not self._best_size:
            self._best_size = self.clearing_size(self._largest)
        return self._best_size

    def measured(self) -> list[Measured]:
        """Return what is known of each size that ran, in ascending order."""
        return [Measured(size, len(self._runs[size]), self._medians[size]) for size in self._sizes]

    # ---- what is measured

    def record(self, size: int, seconds: float) -> None:
        """Record that a batch of `size` jobs took `seconds`."""
        if self._padded:
            size = self._padded_size(size)
        runs = self._runs.get(size)
        if runs is None:
            runs = self._runs[size] = deque(maxlen=WINDOW)
            insort(self._sizes, size)
        elif self._records - self._last_run[size] > STALE_AFTER:
            while len(runs) >= FRESH_RUNS:
                runs.popleft()
        elif len(runs) >= MIN_RUNS:
            self._move_p90(above=seconds > self._medians[size] * self._p90_factor)
        runs.append(seconds)
        self._records = self._last_run[size] = self._records + 1
        self._budget += EXPLORATION_SHARE * seconds
        if self._budget > MAX_BUDGET:
            self._budget = min(self._max_budget, self._budget)
        self._update_median(size, runs)

    def _move_p90(self, *, above: bool) -> None:
        """Move the factor one step towards the percentile: the steps balance where PERCENTILE of the runs are below."""
        self._p90_factor = max(1.0, self._p90_factor + _FACTOR_STEP * (PERCENTILE if above else PERCENTILE - 1.0))

    def _update_median(self, size: int, runs: deque[float]) -> None:
        median = sorted(runs)[(len(runs) - 1) // 2]
        before = self._medians.get(size)
        if before is None or abs(median - before) > MIN_CHANGE * before:
            self._medians[size] = median
            self._best_size = 0
            self._estimates.clear()
            self._clearing_sizes.clear()
            self._marginal_savings.clear()
            self._explorations.clear()
        elif len(runs) <= MIN_RUNS:
            self._explorations.clear()

    # ---- what is estimated

    def median(self, size: int) -> float:
        """Return the seconds that a batch of `size` jobs is expected to take; 0 while nothing is known."""
        found = self._medians.get(size)
        if found is None:
            found = self._estimates.get(size)
            if found is None:
                found = self._estimates[size] = self._estimate(size)
        return found

    def _estimate(self, size: int) -> float:
        if not self._sizes:
            return 0.0
        size = self._padded_size(size)
        if size in self._medians:
            return self._medians[size]
        sizes = self._sizes
        at = bisect_left(sizes, size)
        if at == 0:
            return self._medians[sizes[0]] * (1.0 - SCALING * (1.0 - size / sizes[0]))
        low = sizes[at - 1]
        below = self._medians[low]
        if at == len(sizes):
            return below * (1.0 + SCALING * (size - low) / low)
        high = sizes[at]
        slope = (self._medians[high] - below) / (high - low)
        return min(below * size / low, below + max(0.0, slope) * (size - low))

    def p90(self, size: int) -> float:
        """Return the seconds that nine of ten batches of `size` jobs take at most."""
        return self.median(size) * self._p90_factor

    def marginal_saving(self, size: int) -> float:
        """Return the seconds of a worker that a job saves by joining a batch of `size`, instead of one of its own."""
        found = self._marginal_savings.get(size)
        if found is None:
            saving = self.median(size) + self.median(1) - self.median(size + 1)
            found = self._marginal_savings[size] = max(0.0, saving)
        return found

    # ---- which size to run

    def clearing_size(self, queued: int) -> int:
        """Return how many of `queued` >= 1 jobs to run next so that all of them are done soonest."""
        queued = min(queued, self._largest)
        found = self._clearing_sizes.get(queued)
        if found is None:
            found = self._clearing_sizes[queued] = self._find_clearing_size(queued)
        return found

    def next_size(self, queued: int) -> int:
        """Return `clearing_size` or, now and then, a size of which too little is known."""
        if queued == 1:
            return 1
        queued = min(queued, self._largest)
        best = self.clearing_size(queued)
        if not self._sizes:
            return best
        found = self._explorations.get(queued)
        if found is None:
            found = self._explorations[queued] = self._choose_exploration(queued, best)
        if found.loss >= self._budget and not found.begun:
            return best
        self._budget -= max(0.0, found.loss)
        self._explorations.clear()
        return min(found.size, queued)

    def _choose_exploration(self, queued: int, best: int) -> _Exploration:
        """Return the size whose turn it is to be tried; `best` itself, which loses nothing, if there is none."""
        largest = self._padded_size(min(queued, self._max_size))
        ladder = [size for size in self._ladder if size <= largest]
        seconds_per_job = self.median(best) / best
        loss = {size: self.median(size) - min(size, queued) * seconds_per_job for size in ladder}
        runs = {size: len(self._runs.get(size, ())) for size in ladder}
        for size in ladder:
            if size > best and 0 < runs[size] < MIN_RUNS:
                return _Exploration(size, loss[size], begun=True)
        # A believed size that loses nothing is as good as the best one: there is nothing to learn from it.
        unsure = [size for size in ladder if runs[size] < MIN_RUNS or loss[size] > 0.0]
        affordable = [size for size in unsure if loss[size] < self._max_budget]
        if not affordable:
            return _Exploration(best, 0.0, begun=False)
        turn = min(affordable, key=lambda size: self._last_run[size] if runs[size] >= MIN_RUNS else 0)
        return _Exploration(turn, loss[turn], begun=False)

    @property
    def _max_budget(self) -> float:
        return max(MAX_BUDGET, self._medians.get(self._sizes[-1], 0.0))

    @property
    def _max_size(self) -> int:
        return self._padded_size(MAX_GROWTH * self._sizes[-1])

    def _padded_size(self, size: int) -> int:
        """Return the size in which a batch of `size` jobs runs."""
        padded = self._padded
        return padded[bisect_left(padded, size)] if padded and size <= padded[-1] else size

    def _find_clearing_size(self, queued: int) -> int:
        if not self._sizes:
            return queued
        queued = min(queued, self._max_size)
        sizes = [size for size in self._sizes if size < queued]
        clearing = [(self._clearing_time(size, queued), size) for size in [*sizes, queued]]
        soonest = min(clearing)[0]
        return next(size for seconds, size in clearing if seconds <= soonest * EQUAL_WITHIN)

    def _clearing_time(self, size: int, queued: int) -> float:
        """Return the seconds to work off `queued` jobs in batches of `size`, and the rest in its own best way."""
        whole, rest = divmod(queued, size)
        return whole * self.median(size) + (self._clearing_time(self.clearing_size(rest), rest) if rest else 0.0)
