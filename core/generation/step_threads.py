"""StepThreads: how many threads a step computes with, found by trying while the engine works.

A step that reads prompts multiplies large matrices, and gains from every core. A step that adds a token to each of a
few sequences reads all weights once for next to no arithmetic: the memory is what it waits for, and on many machines
one core reads as fast as all. Then further threads take cores from whatever else there is to do: the event loop that
sends the tokens, the front, the clients, other models. If one of those holds a core, each of the step's hundreds of
parallel regions waits for it.

Which number is best depends on the machine, on the model, on the number of sequences and on what else runs. So each
size of a step, in powers of two, has a number of its own, which begins with all cores. Now and then a step is computed
with half or twice the number, and compared with the step before if that computed as many tokens. Three tries in a row
that were worth it change the number.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_GAIN = 1.1  # speed-up that twice the threads must bring
_SLOWER = 1.05  # times the seconds that half the threads may take
_WINS = 3  # tries in a row after which the number changes: single steps vary
_SOONEST, _LATEST = 1, 32  # steps until the next try: after a try that was worth it, and at most
_LONGER = 4  # times as many steps until the next try after one that wasn't
_CLEARLY = 1.15  # times the seconds of the step before, beyond which the next try comes as late as any


class _Size:
    """A size of steps: the `threads` they have, and when another number is tried."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.fewer = True  # whether the next try is with half the threads
        self.wins = 0
        self.wait = self.left = _SOONEST

    def tried(self, threads: int, took: float, most: int) -> None:
        """Record a try with so many threads, which `took` so many times the seconds of the step before."""
        worth = took <= (_SLOWER if threads < self.threads else 1 / _GAIN)
        self.wins = self.wins + 1 if worth else 0
        if self.wins == _WINS:
            self.threads, self.wins, worth = threads, 0, False
            self.wait = _SOONEST
        elif not worth:
            self.wait = _LATEST if took > _CLEARLY else min(_LONGER * self.wait, _LATEST)
            self.fewer = not self.fewer
        self.left = _SOONEST if worth else self.wait
        if self.threads in (1, most):
            self.fewer = self.threads == most


class StepThreads:
    """A chooser of the number of threads, which gives it to `set_threads` before each step.

    It is at most `most`. `begin` and `end` are called on the thread that computes. `clock` is replaced in tests.
    """

    def __init__(
        self,
        most: int,
        set_threads: Callable[[int], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.most = most
        self._set = set_threads
        self._clock = clock
        self._sizes: dict[int, _Size] = {}
        self._now = 0  # threads, 0 before the first step
        self._step: tuple[_Size, int] | None = None  # the step that is computed: its size, and its tokens
        self._before: tuple[int, float] = (0, 0.0)  # tokens and seconds of the last step, zeros if it can't be compared
        self._began = 0.0

    def begin(self, sequences: int, tokens: int) -> None:
        """Set the threads for a step that computes `tokens` for `sequences`: more than one each if it reads prompts."""
        if tokens > sequences or self.most == 1:
            self._step, self._before = None, (0, 0.0)
            self._use(self.most)
            return
        size = self._sizes.setdefault(tokens.bit_length(), _Size(self.most))
        self._step = size, tokens
        size.left -= 1
        tries = size.left < 0 and self._before[0] == tokens
        self._use(self._other(size) if tries else size.threads)
        self._began = self._clock()

    def end(self) -> None:
        """Take the time of the step."""
        if self._step is None:
            return
        (size, tokens), self._step = self._step, None
        seconds = self._clock() - self._began
        if self._now == size.threads:
            self._before = tokens, seconds
            return
        size.tried(self._now, seconds / max(self._before[1], 1e-9), self.most)
        self._before = 0, 0.0

    def _other(self, size: _Size) -> int:
        return max(1, size.threads // 2) if size.fewer else min(2 * size.threads, self.most)

    def _use(self, threads: int) -> None:
        if threads != self._now:
            self._now = threads
            self._set(threads)
