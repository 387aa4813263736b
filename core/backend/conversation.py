"""Conversation: the batches of a handler that runs one at a time, and the work that is done between them.

Whoever works on the loaded model (`core.handlers.speed`) asks before each step whether requests are to be answered
first, and answers them by `give_way`, a call from within that work. So there is one thread, and one thing at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..wire.frames import Frame
from ..wire.messages import Predict, Profile, ToBackend
from .channel import Channel
from .ranks import Others
from .service import Service
from .spare_time import SpareTime


class Over(BaseException):
    """The end of the conversation while the model is worked on, by its cause if that is an error.

    No `except Exception` of that work keeps it back.
    """


class Conversation:
    """A reader of a channel's batches, which `service` answers and `others`, the other ranks, run too.

    `clock` is replaced in tests.
    """

    def __init__(
        self, channel: Channel, service: Service, others: Others, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._channel = channel
        self._service = service
        self._others = others
        self._clock = clock
        self._spare = SpareTime(clock())

    def run(self) -> int:
        """Answer batches until the front ends the stream, and return the exit code. Raises what reading and writing
        raise.
        """
        later = self._service.later
        if later is not None:
            try:
                later.run(self)
            except Over as over:
                if over.__cause__ is not None:
                    raise over.__cause__ from None
                return 1 if self._service.fault else 0
        while self._answer():
            pass
        return 1 if self._service.fault else 0

    # ---- the turns of work on the model

    def wanted(self) -> bool:
        """Return whether requests are to be answered before the next step, whose predecessor ends with this call."""
        now = self._clock()
        self._spare.ends(now)
        if self._spare.wait(now) or (self._channel.comes(0.0) and not self._spare.owes(now)):
            return True
        self._spare.begins(self._clock())
        return False

    def give_way(self, seconds: float = 0.0) -> None:
        """Answer requests for so many seconds, and until there is time for a step. Raises Over at the end of the
        stream.
        """
        until = self._clock() + seconds
        while True:
            now = self._clock()
            left = until - now
            if left <= 0 and self._spare.owes(now):
                break
            if self._channel.comes(max(left, self._spare.wait(now))):
                self._answer_within_work()
                self._spare.answered(self._clock())
            elif left <= 0 or self._clock() >= until:
                break
        self._spare.begins(self._clock())

    def tell(self, notes: dict[str, str]) -> None:
        """Tell the front what was chosen."""
        try:
            self._service.tell(notes)
        except OSError as error:
            raise Over from error

    def _answer_within_work(self) -> None:
        try:
            goes_on = self._answer()
        except Exception as error:
            raise Over from error
        if not goes_on:
            raise Over

    def _answer(self) -> bool:
        """Wait for a frame and do what it says. Return whether the conversation goes on."""
        frame = self._channel.next_frame()
        if frame is None:
            return False
        self._take(frame)
        return not self._service.fault

    def _take(self, frame: Frame[ToBackend]) -> None:
        service = self._service
        if isinstance(frame.message, Profile):
            service.profiler.take(frame.message)
            return
        assert isinstance(frame.message, Predict)  # no Cancel: this handler runs one batch at a time
        self._others.predict(frame.message, frame.bodies)
        service.respond(frame.message, frame.bodies)
        if not service.fault and service.profiler.active is not None:
            service.profiler.ran()
