"""timeit, which prints how long each call of a function takes."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def timeit(func: Callable[P, T]) -> Callable[P, T]:
    """Print the seconds and the seconds of processor time that each call takes."""

    @functools.wraps(func)
    def timed_call(*args: P.args, **kwargs: P.kwargs) -> T:
        began, began_cpu = time.perf_counter(), time.process_time()
        result = func(*args, **kwargs)
        took, took_cpu = time.perf_counter() - began, time.process_time() - began_cpu
        print(f"func: {func.__name__!r} took {took:2.4f} sec to run and {took_cpu:2.4f} sec of CPU time")  # noqa: T201
        return result

    return timed_call
