"""Channel: the frames from the front, of a handler that runs one batch at a time.

The thread of the batches reads when it has nothing to run. A thread of the handler that waits for a call to another
model reads meanwhile: one thread at a time, which keeps for the others what is not its own.

    nobody reads ──► a thread that waits ──► reads one frame ──► keeps it where it belongs, wakes all ──► nobody reads
"""

from __future__ import annotations

import select
import threading
from collections import deque
from concurrent.futures import Future

from ..handlers.model_call import ModelAnswer
from ..wire.frames import Frame, FrameReader
from ..wire.messages import ToBackend
from .model_calls import ModelCalls
from .stream import Stream, news_of, receive


class Channel:
    """A reader of frames that threads share. Outcomes of calls go to `calls`."""

    def __init__(self, front: Stream, reader: FrameReader[ToBackend], calls: ModelCalls) -> None:
        self._front = front
        self._news = news_of(front)
        self._reader = reader
        self._calls = calls
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting = 0  # threads that wait for a change: mostly none, and a notification costs ten calls of Python's
        self._reading = False
        self._frames: deque[Frame[ToBackend]] = deque()
        self._over = False
        self._failure: BaseException | None = None

    def next_frame(self) -> Frame[ToBackend] | None:
        """Wait for the next frame that is no outcome of a call; None at the end of the stream. Raises as `receive`."""
        while True:
            with self._lock:
                while self._reading and not (self._frames or self._over):
                    self._await_change()
                if self._frames:
                    return self._frames.popleft()
                if self._over:
                    break
                self._reading = True
            frame = self._read()
            if frame is not None:
                return frame
        if self._failure is not None:
            raise self._failure
        return None

    def comes(self, seconds: float) -> bool:
        """Return whether a frame, a part of one or the end of the stream comes within so many seconds.

        For the thread of the batches, of a channel over a socket.
        """
        with self._changed:
            if self._frames or self._over or self._reading or self._reader.pending:
                return True
        waiting = select.poll()  # select.select knows no descriptor above 1023
        waiting.register(self._front, select.POLLIN)
        return bool(waiting.poll(seconds * 1000.0))

    def wait(self, future: Future[ModelAnswer]) -> None:
        """Wait until `future` is done, which it is at the end of the stream, too."""
        while True:
            with self._lock:
                while self._reading and not future.done():
                    self._await_change()
                if future.done():
                    return
                self._reading = True
            self._read(keep=True)

    def _await_change(self) -> None:
        """Wait until something may have changed. The caller must have the lock."""
        self._waiting += 1
        self._changed.wait()
        self._waiting -= 1

    def _read(self, *, keep: bool = False) -> Frame[ToBackend] | None:
        """Read one frame. If it is the batches' thread's, return it, or `keep` it for that thread. The caller must have
        set `_reading`.
        """
        frame, failure = None, None
        try:
            frame = receive(self._front, self._reader, self._news)
        except BaseException as error:  # noqa: BLE001  for the thread of the batches to judge
            failure = error
        with self._lock:
            self._reading = False
            if frame is None:
                self._over, self._failure = True, failure
                self._calls.end()
            elif self._calls.took(frame.message, frame.bodies):
                frame = None
            elif keep:
                self._frames.append(frame)
                frame = None
            if self._waiting:
                self._changed.notify_all()
        return frame
