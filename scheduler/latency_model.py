"""Costs: how long a batch of each size takes on one kind of device, learnt from the batches that ran. Pure.

A size's cost is the median of its latest runs; between measured sizes it is interpolated. A larger one is taken to
cost less per job until it has run, so that it is tried, but never one more than REACH times as large as any that did.
What looks worse is tried too, in turn and within a budget of lost time. Padded batches count in the size they run in.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence

RECENT = 15  # runs of one size that count: an old one is forgotten when as many newer have come
STALE = 150  # batches since the latest of a size, after which what else ran on the machine may have changed:
VOTES = 3  # so many runs, the new one among them, then count
ENOUGH = 2  # runs before a size is believed: the first one of a shape often compiles or allocates
EQUAL = 1.02  # a smaller batch that takes at most this much longer to clear the queue is as good, and answers sooner
STEADY = 0.02  # a median that moves by less changes nothing: decisions are cached between its moves
REACH = 4
HOPE = 0.8  # share of a batch's cost that is taken to go by its size, beyond the sizes that ran
CURIOSITY = 0.005  # share of the time that may be lost to trying again what looked worse
MOST_CURIOUS = 1.0  # seconds of that which may be saved up, or one run of the largest size if that takes longer
CAUTION = 0.9  # share of the runs that `upper` covers
_STEP = 0.02  # how fast `upper` follows


class Costs:
    """Seconds per batch, by its size from 1 to `largest`; if it is `padded`, one runs in the next size of those."""

    __slots__ = (
        "_best", "_budget", "_ladder", "_largest", "_latest", "_merging", "_padded", "_records", "_runs", "_sizes",
        "_spread", "_tries", "_typical",
    )  # fmt: skip

    def __init__(self, largest: int, padded: Sequence[int] = ()) -> None:
        self._largest = largest
        self._padded = padded
        # Sizes worth trying for their own sake: few, or learning would never end.
        powers = [size for power in range(largest.bit_length()) if (size := 1 << power) < largest]
        self._ladder = padded or [*powers, largest]
        self._runs: dict[int, deque[float]] = {}
        self._typical: dict[int, float] = {}
        self._sizes: list[int] = []  # those that ran, in order
        self._latest: dict[int, int] = {}  # size -> number of the record that was its latest
        self._records = 0
        self._spread = 1.0
        self._best: dict[int, int] = {}  # this and the next two are cached until something moves
        self._merging: dict[int, float] = {}
        self._tries: dict[int, tuple[int, float, bool]] = {}
        self._budget = 0.0

    @property
    def known(self) -> bool:
        """Anything was measured."""
        return bool(self._sizes)

    @property
    def ideal(self) -> int:
        """The size that gives the most jobs per second: a batch of it gains nothing by waiting for more."""
        return self.best(self._largest)

    def record(self, size: int, seconds: float) -> None:
        """A batch of `size` jobs took `seconds`."""
        size = self._run_as(size)
        runs = self._runs.get(size)
        if runs is None:
            runs = self._runs[size] = deque(maxlen=RECENT)
            insort(self._sizes, size)
        elif self._records - self._latest[size] > STALE:
            while len(runs) >= VOTES:
                runs.popleft()
        elif len(runs) >= ENOUGH:
            # One step towards the quantile, whatever the distance: no single run moves it far.
            above = seconds > self._typical[size] * self._spread
            self._spread = max(1.0, self._spread + _STEP * (CAUTION if above else CAUTION - 1.0))
        runs.append(seconds)
        self._records = self._latest[size] = self._records + 1
        self._budget = min(self._most_curious, self._budget + CURIOSITY * seconds)
        median = sorted(runs)[(len(runs) - 1) // 2]
        before = self._typical.get(size)
        if before is None or abs(median - before) > STEADY * before:
            self._typical[size] = median
            self._best.clear()
            self._merging.clear()
            self._tries.clear()
        elif len(runs) <= ENOUGH:
            self._tries.clear()

    def typical(self, size: int) -> float:
        """Seconds to expect of a batch of `size` jobs; 0 while nothing is known."""
        found = self._typical.get(size)
        if found is not None or not self._sizes:
            return found or 0.0
        size = self._run_as(size)
        if size in self._typical:
            return self._typical[size]
        sizes = self._sizes
        at = bisect_left(sizes, size)
        if at == 0:
            return self._typical[sizes[0]] * (1.0 - HOPE * (1.0 - size / sizes[0]))
        low = sizes[at - 1]
        below = self._typical[low]
        if at == len(sizes):
            return below * (1.0 + HOPE * (size - low) / low)
        high = sizes[at]
        rise = (self._typical[high] - below) / (high - low)
        return min(below * size / low, below + max(0.0, rise) * (size - low))

    def upper(self, size: int) -> float:
        """Seconds that most batches of `size` jobs stay below."""
        return self.typical(size) * self._spread

    def merging(self, size: int) -> float:
        """Seconds of a worker that one more job saves in a batch of `size`, against a batch of its own; >= 0."""
        found = self._merging.get(size)
        if found is None:
            saved = self.typical(size) + self.typical(1) - self.typical(size + 1)
            found = self._merging[size] = max(0.0, saved)
        return found

    def best(self, queued: int) -> int:
        """How many of `queued` jobs to run next so that all of them are done soonest."""
        queued = min(queued, self._largest)
        found = self._best.get(queued)
        if found is None:
            found = self._best[queued] = self._soonest(queued)
        return found

    def choose(self, queued: int) -> int:
        """`best`, or now and then a size of which too little is known."""
        queued = min(queued, self._largest)
        best = self.best(queued)
        if not self._sizes or queued == 1:
            return best
        found = self._tries.get(queued)
        if found is None:
            found = self._tries[queued] = self._unsure(queued, best)
        size, lost, begun = found
        # The one that waits longest is saved up for: if cheaper ones could go before it, it would never run again.
        if lost >= self._budget and not begun:
            return best
        self._budget -= max(0.0, lost)
        self._tries.clear()
        return min(size, queued)

    def _unsure(self, queued: int, best: int) -> tuple[int, float, bool]:
        """The size that has not run for the longest time, of those that may be better than they look; what it is
        thought to lose against `best` (s); and whether it has been begun with, so that
        one more run is due at any price.
        """
        each = self.typical(best) / best
        found, oldest = (best, 0.0, False), self._records + 1
        most = self._run_as(min(queued, self._reach))
        for size in self._ladder:
            if size > most:
                break
            lost = self.typical(size) - min(size, queued) * each
            runs = len(self._runs.get(size, ()))
            if size > best and 0 < runs < ENOUGH:
                return size, lost, True
            if runs >= ENOUGH and lost <= 0.0:
                continue  # as good as the best one: nothing to learn
            age = self._latest[size] if runs >= ENOUGH else 0
            if age < oldest and lost < self._most_curious:
                found, oldest = (size, lost, False), age
        return found

    @property
    def _most_curious(self) -> float:
        """Seconds that may be saved up."""
        return max(MOST_CURIOUS, self._typical.get(self._sizes[-1], 0.0))

    @property
    def _reach(self) -> int:
        return self._run_as(REACH * self._sizes[-1])

    def _run_as(self, size: int) -> int:
        """The size in which a batch of `size` runs."""
        padded = self._padded
        return padded[bisect_left(padded, size)] if padded and size <= padded[-1] else size

    def _soonest(self, queued: int) -> int:
        if not self._sizes:
            return queued
        queued = min(queued, self._reach)
        sizes = [size for size in self._sizes if size < queued]
        clearing = [(self._clearing(size, queued), size) for size in [*sizes, queued]]
        soonest = min(clearing)[0]
        return next(size for seconds, size in clearing if seconds <= soonest * EQUAL)

    def _clearing(self, size: int, queued: int) -> float:
        """Seconds to work off `queued` jobs in batches of `size`, and the rest at its best."""
        whole, rest = divmod(queued, size)
        return whole * self.typical(size) + (self._clearing(self.best(rest), rest) if rest else 0.0)
