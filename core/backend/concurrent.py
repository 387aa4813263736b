"""converse(): runs the requests of an asynchronous handler side by side on one event loop, while a thread reads."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from ..wire.frames import Frame, FrameReader
from ..wire.messages import Cancel, Predict, Profile, ToBackend
from .gathered_writes import GatheredWrites, Wary
from .service import Service
from .stream import Stream, news_of, receive


def converse(
    front: Stream, reader: FrameReader[ToBackend], service: Service, loop: asyncio.AbstractEventLoop,
    *, yields: bool = False,
) -> None:  # fmt: skip
    """Answer every batch as soon as it is ready, until the front closes the connection. Raises what reading raises.

    The frames of a turn of the loop go out together. With `yields` the handler is known to give the loop away between
    two pieces of an answer; any other is watched.
    """
    ended: asyncio.Future[None] = loop.create_future()

    def failed(error: OSError) -> None:
        if not ended.done():
            ended.set_exception(error)

    running: dict[int, asyncio.Task[None]] = {}
    writes = GatheredWrites(service.send, loop, failed, None if yields else Wary(lambda: len(running)))
    service.gather(writes)

    def take(frame: Frame[ToBackend]) -> None:
        message = frame.message
        if isinstance(message, Cancel):
            if message.batch in running:
                running[message.batch].cancel()
            return
        if isinstance(message, Profile):
            service.profiler.take(message)
            return
        assert isinstance(message, Predict)  # the only Load has come before
        task = running[message.batch] = loop.create_task(service.fork().respond_soon(message, frame.bodies))
        task.add_done_callback(lambda task: finished(message.batch, task))

    def finished(batch: int, task: asyncio.Task[None]) -> None:
        del running[batch]
        service.profiler.ran()
        if task.cancelled() and not ended.done():  # before its first step, so that it has sent no Answer
            service.cancelled(batch)
        elif not task.cancelled() and (error := task.exception()) and not ended.done():
            ended.set_exception(error)  # the answer could not be sent

    def read() -> None:
        news = news_of(front)
        try:
            while (frame := receive(front, reader, news)) is not None:
                if not service.calls.took(frame.message, frame.bodies):
                    loop.call_soon_threadsafe(take, frame)
        except Exception as error:  # noqa: BLE001  for the main thread to judge
            loop.call_soon_threadsafe(ended.set_exception, error)
        else:
            loop.call_soon_threadsafe(ended.set_result, None)

    service.calls.connect()
    threading.Thread(target=read, name="front", daemon=True).start()
    try:
        loop.run_until_complete(ended)
    finally:
        service.calls.end()
        _cancel(loop, list(running.values()))
        with contextlib.suppress(OSError):  # a front that is gone has ended the conversation
            writes.flush()


def _cancel(loop: asyncio.AbstractEventLoop, tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks))
