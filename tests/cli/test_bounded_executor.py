"""A thread pool whose end does not wait for threads that are stuck."""

from __future__ import annotations

import threading

from torchserve.cli.bounded_executor import BoundedExecutor


def test_threads_that_end_are_waited_for() -> None:
    threads = BoundedExecutor()
    done = threads.submit(threading.Event().wait, 0.05)
    threads.shutdown()
    assert done.done()
    assert not threads.stuck


def test_a_thread_that_is_stuck_is_told_of() -> None:
    threads, gate = BoundedExecutor(), threading.Event()
    waiting = threads.submit(gate.wait, 600)
    threads.shutdown()
    assert threads.stuck
    assert not waiting.done()
    gate.set()
    assert waiting.result(60)
