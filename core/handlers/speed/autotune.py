"""Autotuning: a loaded model is run and timed as requests would run it, and what is faster is kept. Imports torch.

The tuner has a budget of seconds (BUDGET, LATER between requests, or COMPILING for a compiled model), which counts from
when it is made:

1. The model is run on one row as it is, which gives the seconds per row that all estimates start from.
2. Each candidate is tried in turn, on top of those taken before. `_sizes_to_measure` picks a single row and the largest
   batch that can be timed, before and after, with _MEASURING of what is left of the budget. The candidate is applied,
   and kept if the answers stay the same (`outputs_close`; those of some may move, which the note then tells), the
   largest batch gets faster by the candidate's `gain`, and a single row does not get slower; otherwise it is reverted.
   A candidate that can leave small batches to the model before it need not be faster for a single row: it then runs
   from the smallest size on for which it is not the slower one. A kept candidate's times are what the next must beat.
3. What is left of the budget goes to `warm_up`, which runs the batch sizes that will come.

Before each run, requests may be answered (`Turns`): by the model as it was, since a candidate that is not taken yet is
reverted meanwhile. The time that they take doesn't count.

The fastest of a few runs is what counts as a size's time, because other processes can make a run slower but not faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from .candidate import Candidate
from .example_input import restore_state
from .layouts import learning
from .outputs_close import largest_difference, outputs_close
from .snapshot import Uncopied
from .turns import NO_REQUESTS, Turns

BUDGET = 4.0  # seconds for all of this, except the very first run, which would otherwise be the first request's
LATER = 15.0  # the budget where requests are answered between the steps: nobody waits, and batches are measured, too
COMPILING = 60.0  # the budget of a model that torch.compile compiles anew for each batch size
_MEASURING = 0.45  # share of what is left of the budget that one candidate may take
_RUNS = 2  # timed runs of a batch size, after one that is not timed
_MOST_RUNS = 12  # of a batch size, while as many of the fastest would take less than _LONG_ENOUGH seconds
_LONG_ENOUGH = 0.15
_RUNS_OF_ONE = 5  # timed runs of a single row, whose time is more easily disturbed
_SCRIPT_RUNS = 3  # runs after which TorchScript has optimized a graph for a shape
_NOT_SLOWER = 0.95  # speed-up for a single row below which it counts as slower: measurements vary
_WILD = 0.5  # share of their largest value by which answers may be off, if they may move at all: beyond, it is a fault
TOO_LONG = "measuring would take too long"


class Autotuner:
    """A tuner of one handler's model, which is run on batches of copies of `row`. `clock` is replaced in tests."""

    def __init__(
        self,
        handler: Any,
        row: torch.Tensor,
        batch_size: int,
        clock: Callable[[], float] = time.perf_counter,
        turns: Turns = NO_REQUESTS,
    ) -> None:
        self.row = row
        self._handler = handler
        self._padded = handler.padded_size(batch_size) if handler.padded_batch_sizes else 0
        padded = [size for size in handler.padded_batch_sizes if size <= self._padded]
        self._sizes = padded[::-1] or list(_sizes(batch_size))
        self._clock = clock
        self._turns = turns
        self._trying: Candidate | None = None
        self._seconds = 0.0  # of the last run
        self.least = 1  # rows from which on the last candidate that was taken runs
        self._started = clock()
        self.compiled = hasattr(handler.model, "_orig_mod")  # an attribute of modules that torch.compile returns
        self._budget = COMPILING if self.compiled else BUDGET if turns is NO_REQUESTS else LATER
        self._repeats = _SCRIPT_RUNS if isinstance(handler.model, torch.jit.ScriptModule) else 1
        for _ in range(self._repeats):
            self._run(1)
        self.seconds_per_row = self._timed(1)
        self._warm = {handler.padded_size(1)}
        self._original: dict[int, Any] = {}  # batch size -> the outputs of the model as it was loaded
        self._times: dict[int, float] = {}  # batch size -> seconds of a batch with all candidates taken so far

    def try_candidate(self, candidate: Candidate) -> tuple[bool, str]:
        """Return whether the candidate was taken, and a note that says why or why not."""
        sizes = self._sizes_to_measure()
        if not sizes:
            return False, f"{candidate.otherwise}: {TOO_LONG}"
        self._measure_before(sizes)
        on_noise = self._on_noise() if candidate.moves else None
        try:
            self._prepare(candidate)
            moved = self._told_difference(sizes, on_noise)
            if moved is not None:
                times = {size: self._fastest(size) for size in sizes}
                taken, told = self._judge(candidate, times)
                if taken:
                    rows = self._keep(candidate, times)
                    self._trying = None
                    return True, f"{candidate.name}: measured {told} times as fast{rows}{moved}"
                why = f"{candidate.name} is measured {told} times as fast{moved}"
            else:
                why = f"{candidate.name} changes the answers"
        except Uncopied as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001  most often a view() of a tensor that now has another memory format
            why = f"{candidate.name} fails: {type(error).__name__}: {error}"
        self._trying = None
        candidate.leave()
        return False, f"{candidate.otherwise}: {why}"

    def adopt(self, candidate: Candidate, least: int) -> str:
        """Take a candidate that was measured before, for batches of `least` rows and more, if it gives the same
        answers. Return why it doesn't, "" if so.
        """
        self._original.setdefault(1, self._run(1))
        try:
            self._prepare(candidate)
            why = "" if self._answers_are_unchanged([1]) else f"{candidate.name} changes the answers"
        except Uncopied as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001  as in try_candidate
            why = f"{candidate.name} fails: {type(error).__name__}: {error}"
        self._trying = None
        if why:
            candidate.leave()
        else:
            if candidate.least is not None:
                candidate.least(least)
            self.least = least
            self.seconds_per_row = self._timed(1)
            self._times, self._warm = {}, {self._handler.padded_size(1)}
        return why

    def _prepare(self, candidate: Candidate) -> None:
        """Make a candidate, and have the next runs be those of the model with it."""
        self._pass()
        with restore_state(self._handler):
            candidate.prepare()
        self._trying = candidate
        candidate.take()

    def renew_budget(self) -> None:
        """Give what comes now a budget of its own."""
        self._budget += self._clock() - self._started

    def warm_up(self, *, others: bool = True) -> str:
        """Run the batch sizes that the rest of the budget allows, and return a note that lists those that were run.

        Unless `others`, none is run that hasn't been yet.
        """
        for size in self._sizes if others else ():
            # No other sizes than padded ones will come, and each may have to be compiled: all of them are run.
            if size not in self._warm and (self._padded or self._repeats * size * self.seconds_per_row <= self._left()):
                for _ in range(self._repeats):
                    self._run(size)
                self._warm.add(size)
        took = self._clock() - self._started
        return f"batches of {', '.join(map(str, sorted(self._warm)))} in {took:.1f} s"

    def extend(self, seconds: float) -> None:
        """Add seconds to the budget."""
        self._budget += seconds

    def _sizes_to_measure(self) -> list[int]:
        """Return 1 and the largest batch size that there is time to measure, ascending; nothing without time for 1."""
        for largest in sorted({1, *self._sizes}, reverse=True):
            sizes = sorted({1, largest})
            known = all(size in self._times for size in sizes)
            rows = (1 if known else 2) * sum(size * (_runs(size) + 2) for size in sizes)
            if rows * self.seconds_per_row <= _MEASURING * self._left():
                return sizes
        return []

    def _measure_before(self, sizes: list[int]) -> None:
        for size in sizes:
            if size not in self._times:
                self._original.setdefault(size, self._run(size))
                self._times[size] = self._fastest(size)

    def _answers_are_unchanged(self, sizes: list[int]) -> bool:
        return all(outputs_close(self._run(size), self._original[size], self.row.device) for size in sizes)

    def _told_difference(self, sizes: list[int], on_noise: Any) -> str | None:
        """Return in words by how much answers differ; None if that is more than they may.

        `on_noise` is what the model before answers to noise, if they may differ by more than rounding.
        """
        if on_noise is None:
            return "" if self._answers_are_unchanged(sizes) else None
        share = largest_difference(self._on_noise(), on_noise)
        return f"; answers differ by at most {100 * share:.2g} % of their largest value" if share <= _WILD else None

    def _judge(self, candidate: Candidate, times: dict[int, float]) -> tuple[bool, str]:
        """Return whether these times, by batch size, are good enough, and the speed-ups in words."""
        gains = {size: self._times[size] / seconds for size, seconds in times.items()}
        single, largest = gains[min(gains)], gains[max(gains)]
        alone = len(gains) > 1 and candidate.least is not None  # a single row doesn't have to run so
        taken = (alone or single >= min(_NOT_SLOWER, candidate.gain)) and largest >= candidate.gain
        return taken, " and ".join(f"{gain:.2f} for {size}" for size, gain in gains.items())

    def _keep(self, candidate: Candidate, times: dict[int, float]) -> str:
        """Go on from the candidate, and return from which batch size on it runs, in words."""
        largest, told = max(times), ""
        self.least = 1
        if candidate.least is not None and largest > 1 and times[1] > self._times[1]:
            self.least = self._choose_least(candidate.least, largest)
            told = f", run from {self.least} on"
            times = times | {1: self._times[1]}
        if candidate.moves:  # what comes next is compared with what these answers are
            self._original = {size: self._run(size) for size in times}
        self._times, self.seconds_per_row = times, times[largest] / largest
        # Another model runs now: of the sizes that were run before, only the measured ones are warm.
        self._warm = {self._handler.padded_size(size) for size in (1, *times)}
        return told

    def _choose_least(self, least: Callable[[int], Any], largest: int) -> int:
        """Find the smallest batch size for which the candidate is not the slower one; have it run from there on."""
        for size in sorted(self._sizes):
            if size >= largest or 2 * size * (_runs(size) + 1) * self.seconds_per_row > _MEASURING * self._left():
                break
            least(size + 1)
            before = self._fastest(size)
            least(size)
            if self._fastest(size) <= before:
                return size
        least(largest)
        return largest

    def _fastest(self, size: int) -> float:
        self._run(size)
        times = [self._timed(size) for _ in range(_runs(size))]
        # The choice is remembered, and of a few short runs any may have been disturbed.
        while len(times) < _MOST_RUNS and len(times) * min(times) < _LONG_ENOUGH:
            times.append(self._timed(size))
        return min(times)

    def _timed(self, size: int) -> float:
        self._run(size)
        return self._seconds

    def _on_noise(self) -> Any:
        """Return the model's answer to rows of noise, since `warmUp` makes zeros, which no precision changes.

        Rows that are something, a picture or tokens, are left as they are.
        """
        if self.row.any():
            return self._run(1)
        noise = torch.rand((4, *self.row.shape), generator=torch.Generator().manual_seed(0))
        with restore_state(self._handler):
            return self._handler.inference(noise.to(self.row))

    def _run(self, size: int) -> Any:
        self._pass()
        with restore_state(self._handler), learning():
            began = self._clock()
            output = self._handler.inference(torch.stack([self.row] * size))
            if self.row.device.type == "cuda":
                torch.cuda.synchronize(self.row.device)
            self._seconds = self._clock() - began
        return output

    def _pass(self) -> None:
        """Let requests pass, which the model answers without the candidate that is being tried."""
        if not self._turns.wanted():
            return
        began, candidate = self._clock(), self._trying
        if candidate is not None:
            candidate.leave()
        self._turns.give_way()
        if candidate is not None:
            candidate.take()
        self._started += self._clock() - began

    def _left(self) -> float:
        return self._budget - (self._clock() - self._started)


def _runs(size: int) -> int:
    return _RUNS if size > 1 else _RUNS_OF_ONE


def _sizes(batch_size: int) -> Iterator[int]:
    """Yield the largest batch size and the smaller powers of two except 1, in the order in which they are warmed up."""
    if batch_size > 1:
        yield batch_size
    size = 2
    while size < batch_size:
        yield size
        size *= 2
