"""converse(): runs the requests of an asynchronous handler side by side on one event loop, while a thread reads."""

from __future__ import annotations

import asyncio
import socket
import threading

from ..wire.frames import Frame, FrameReader
from ..wire.messages import Predict, ToBackend
from .service import Service
from .stream import receive


def converse(
    front: socket.socket, reader: FrameReader[ToBackend], service: Service, loop: asyncio.AbstractEventLoop
) -> None:
    """Answer every batch as soon as it is ready, until the front closes the connection. Raises what reading raises."""
    ended: asyncio.Future[None] = loop.create_future()
    running: set[asyncio.Task[None]] = set()

    def begin(frame: Frame[ToBackend]) -> None:
        assert isinstance(frame.message, Predict)  # the only Load has come before
        task = loop.create_task(service.fork().respond_soon(frame.message, frame.bodies))
        running.add(task)
        task.add_done_callback(finished)

    def finished(task: asyncio.Task[None]) -> None:
        running.discard(task)
        if not task.cancelled() and (error := task.exception()) and not ended.done():
            ended.set_exception(error)  # the answer could not be sent

    def read() -> None:
        try:
            while (frame := receive(front, reader)) is not None:
                loop.call_soon_threadsafe(begin, frame)
        except Exception as error:  # noqa: BLE001  for the main thread to judge
            loop.call_soon_threadsafe(ended.set_exception, error)
        else:
            loop.call_soon_threadsafe(ended.set_result, None)

    threading.Thread(target=read, name="front", daemon=True).start()
    try:
        loop.run_until_complete(ended)
    finally:
        for task in running:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*running, return_exceptions=True))
