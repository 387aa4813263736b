"""Makes a loaded model faster without changing its answers by more than rounding. Imports torch.

A frozen copy of the model, another memory format and more threads are tried one after the other, each on top of what
was taken before. What is measured to be faster is kept. Then batch sizes are run, so that requests are not the slow
ones. `accelerate` does all of that at once, `LaterTuning` in the turns that requests leave, with what is remembered.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from ..loading.onnx import is_session
from .asked_for import asked_for, try_asked_for
from .autotune import Autotuner
from .candidate import GAINS, Candidate
from .example_input import example_input, has_example, hooks_are_builtin, restore_state
from .frozen import LARGEST, Frozen, parameter_bytes
from .num_threads import GAIN, HEAVY, NumThreads
from .trial_memory import MOST_ENDS, Outcome, TrialMemory
from .turns import NO_REQUESTS, Turns
from .unpadded import unpadded

log = logging.getLogger(__name__)

STATE = "speed"  # the subject of the note that says how far a model is that is made faster later
_UNMEASURED = "as loaded: it was not measured, as the model was not warmed up"
_POLL = 1.0  # seconds after which it is asked again whether another worker is done


def accelerate(
    handler: Any, config: Mapping[str, Any], batch_size: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, str]:
    """Make the handler's model faster, and return notes on what was chosen, by subject. `config` is the model's yaml.

    Never raises: a model that can't be warmed up is served as it is.
    """
    notes: dict[str, str] = {}
    if prepare(handler, config, notes, clock):
        with _noted(notes):
            _Tuning(handler, config, notes, clock).all(batch_size)
    return notes


def prepare(
    handler: Any,
    config: Mapping[str, Any],
    notes: dict[str, str],
    clock: Callable[[], float] = time.perf_counter,
) -> bool:
    """Do what needs no trial, and return whether there is something to try. Never raises."""
    notes["threads"] = str(torch.get_num_threads())
    model = getattr(handler, "model", None)
    with _noted(notes):
        if config.get("channelsLast") is True and isinstance(model, torch.nn.Module):
            model.to(memory_format=torch.channels_last)
            notes["memory format"] = "channels last: channelsLast is true in the model's yaml"
        asked = asked_for(config, notes)
        notes |= dict.fromkeys(asked, _UNMEASURED)
        # Ranks of one model must run the same batches, or they wait for one another for ever.
        if model is None or config.get("warmUp") is False or "LOCAL_RANK" in os.environ:
            return False
        if not asked and getattr(handler, "image_processing", None) is None:
            _leave_out_padding(handler, notes, clock)
        if has_example(handler, config.get("warmUp")):
            return True
        notes |= dict.fromkeys(asked, f"{_UNMEASURED}: nobody knows what it is given, unless warmUp says it")
        _share_out_at_work(handler, notes, clock)
    return False


class LaterTuning:
    """A tuning of a model that serves already. `memory` makes the memory of its trials, which may take long."""

    def __init__(
        self,
        handler: Any,
        config: Mapping[str, Any],
        batch_size: int,
        notes: dict[str, str],
        memory: Callable[[Callable[[], None]], TrialMemory],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._handler = handler
        self._config = config
        self._batch_size = batch_size
        self._notes = notes
        self._memory = memory
        self._clock = clock

    def run(self, turns: Turns) -> None:
        """Do it between the requests. Raises what `turns` raises, else nothing."""
        turns.give_way()
        memory: TrialMemory | None = None
        with _noted(self._notes):
            memory = self._memory(lambda: _pass(turns))
            while not memory.claim():
                self._say(turns, "waits for another worker of this machine, which tries what is faster")
                turns.give_way(_POLL)
            self._say(turns, "trying what is faster")
            tuning = _Tuning(self._handler, self._config, self._notes, self._clock, turns, memory)
            tuning.all(self._batch_size)
        if memory is not None:
            memory.release()
        self._notes.pop(STATE, None)
        turns.tell(self._notes)

    def _say(self, turns: Turns, state: str) -> None:
        if self._notes.get(STATE) != state:
            self._notes[STATE] = state
            turns.tell(self._notes)


def _pass(turns: Turns) -> None:
    if turns.wanted():
        turns.give_way()


@contextmanager
def _noted(notes: dict[str, str]) -> Iterator[None]:
    """Turn an exception into a note: the model is served as it is."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  a model may raise anything for an input that is no request
        log.info("The model can't be warmed up: %s: %s", type(error).__name__, error)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        notes["warm-up"] = f"failed: {type(error).__name__}: {error}"


class _Tuning:
    """The choices for one model. The outcome of each goes into `notes` and, if there is one, the `memory`."""

    def __init__(
        self,
        handler: Any,
        config: Mapping[str, Any],
        notes: dict[str, str],
        clock: Callable[[], float],
        turns: Turns = NO_REQUESTS,
        memory: TrialMemory | None = None,
    ) -> None:
        self._clock = clock
        self._handler = handler
        self._config = config
        self._notes = notes
        self._turns = turns
        self._memory = memory
        self._tuner: Autotuner

    def all(self, batch_size: int) -> None:
        """Make all choices and warm the model up."""
        handler = self._handler
        with restore_state(handler):
            row = example_input(handler, self._config.get("warmUp"))
        if row is None:
            _share_out_at_work(handler, self._notes, self._clock)
            return
        size = getattr(handler.handle, "micro_batch_size", batch_size)
        self._tuner = Autotuner(handler, row, size, self._clock, self._turns)
        frozen = self._freeze() if self._is_convolutional() else False
        if not frozen and self._is_convolutional() and not isinstance(self._config.get("channelsLast"), bool):
            self._lay_out()
        self._notes |= try_asked_for(handler, asked_for(self._config, self._notes), self._tuner, size)
        self._share_out()
        if self._memory is not None:
            self._memory.release()  # what is left disturbs no other worker's measurements
        # A size of a compiled model may take minutes, in which requests of other sizes would wait.
        later = self._turns is not NO_REQUESTS
        if later:
            self._tuner.renew_budget()  # nobody waits for the rest
        self._notes["warm-up"] = self._tuner.warm_up(others=not (later and self._tuner.compiled))

    def _try(self, subject: str, candidate: Candidate) -> bool:
        """Return whether the candidate was taken: as it is remembered, or else as it is measured now."""
        memory = self._memory
        if memory is None:
            taken, self._notes[subject] = self._tuner.try_candidate(candidate)
            return taken
        known = memory.outcomes.get(subject)
        if known is None and memory.deaths(subject) >= MOST_ENDS:
            known = Outcome(False, f"{candidate.otherwise}: workers have ended while {candidate.name} was tried")
        if known is not None:
            why = self._tuner.adopt(candidate, known.least) if known.taken else ""
            self._notes[subject] = f"{candidate.otherwise}: {why}" if why else f"{known.note} (remembered)"
            return known.taken and not why
        memory.begin(subject)
        try:
            taken, note = self._tuner.try_candidate(candidate)
        except BaseException:  # the server ends: nothing is known of it
            memory.stop(subject)
            raise
        memory.remember(subject, Outcome(taken, note, self._tuner.least if taken else 1))
        self._notes[subject] = note
        return taken

    def _is_convolutional(self) -> bool:
        model = self._handler.model
        if is_session(model) or self._tuner.compiled or not isinstance(model, torch.nn.Module):
            return False
        images = self._tuner.row.ndim == 3
        return images and any(each.ndim == 4 and each.shape[2:] != (1, 1) for each in model.parameters())

    def _freeze(self) -> bool:
        """Try a frozen copy, and return whether it was taken. Its convolutions are merged, and it chooses their layout
        itself.
        """
        choice, row, model = self._config.get("freeze"), self._tuner.row, self._handler.model
        if choice is False or row.device.type != "cpu":
            return False
        if choice is not True and parameter_bytes(model) > LARGEST:
            size = f"{parameter_bytes(model) >> 20} MiB"
            self._notes["freeze"] = f"as loaded: a copy of its {size} of weights would be too large"
            return False
        made: list[Frozen] = []
        return self._try(
            "freeze",
            Candidate(
                "frozen",
                "as loaded",
                prepare=lambda: made.append(Frozen(model, row)),
                take=lambda: setattr(self._handler, "_faster_model", made[0]),
                leave=lambda: setattr(self._handler, "_faster_model", None),
                gain=0.0 if choice is True else GAINS,
                least=None if choice is True else lambda rows: setattr(made[0], "least", rows),
            ),
        )

    def _lay_out(self) -> None:
        model = self._handler.model
        self._try(
            "memory format",
            Candidate(
                "channels last",
                "as the model has it",
                take=lambda: model.to(memory_format=torch.channels_last),
                leave=lambda: model.to(memory_format=torch.contiguous_format),
            ),
        )

    def _share_out(self) -> None:
        """Try all cores of the worker's share, unless the model is so light that the front needs one of them."""
        few, most = _shares(self._handler)
        if few == most:
            return
        if self._tuner.seconds_per_row < HEAVY:
            self._notes["threads"] = (
                f"{few}: a row takes {1000 * self._tuner.seconds_per_row:.1f} ms, so the front needs its core"
            )
            return
        cores = vars(self._handler)["_num_threads"] = NumThreads(
            few, most, self._clock, chosen=_tells_threads(self._handler)
        )
        self._try(
            "threads",
            Candidate(
                str(most),
                str(few),
                take=lambda: cores.use(most),
                leave=lambda: cores.use(few),
                gain=GAIN,
                least=lambda rows: setattr(cores, "least", rows),
            ),
        )


def _leave_out_padding(handler: Any, notes: dict[str, str], clock: Callable[[], float]) -> None:
    """Let batches at work decide whether the model's transformer encoders compute the padding of texts."""
    one_at_a_time = hooks_are_builtin(handler, "inference") and not hasattr(handler.handle, "micro_batch_size")

    def tried() -> None:
        if handler.context is not None:
            handler.context.untypical = True

    def chosen(note: str) -> None:
        log.info("Texts are computed %s", note)
        if handler.context is not None:
            handler.context.note("padding", note)

    found = unpadded(handler.model, tried, chosen, clock) if one_at_a_time else None
    if found is not None:
        notes["padding"] = "computed at first: at work it is measured whether texts are faster without it"
        handler._faster_model = found  # noqa: SLF001


def _share_out_at_work(handler: Any, notes: dict[str, str], clock: Callable[[], float]) -> None:
    """Let batches at work decide the number of threads, for a model whose input is not known before the
    first request.
    """
    few, most = _shares(handler)
    if few < most and hooks_are_builtin(handler, "inference"):
        notes["threads"] = f"{few} at first: at work it is measured whether {most} are faster"
        vars(handler)["_num_threads"] = NumThreads(few, most, clock, measured=False, chosen=_tells_threads(handler))


def _tells_threads(handler: Any) -> Callable[[str], None]:
    """Return what tells the log and the server a number of threads that was chosen at work."""

    def chosen(note: str) -> None:
        log.info("Threads: %s", note)
        if handler.context is not None:
            handler.context.note("threads", note)

    return chosen


def _shares(handler: Any) -> tuple[int, int]:
    """Return the current number of threads and the largest one allowed. Both are equal where there is no choice."""
    few, most = torch.get_num_threads(), int(os.environ.get("TS_WORKER_CORES", "0"))
    on_cpu = handler.device is None or torch.device(handler.device).type == "cpu"
    return (few, most) if most > few and on_cpu and not is_session(handler.model) else (few, few)
