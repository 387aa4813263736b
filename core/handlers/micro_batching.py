"""Micro batching: a batch is cut into small ones, whose preprocess, inference and postprocess overlap in threads."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from .profiling import profiling

HANDLER_METHODS = ("preprocess", "inference", "postprocess")


class MicroBatching:
    """A callable that replaces a BaseHandler's `handle`: `self.handle = MicroBatching(self, 4)`.

    `parallelism` maps each step to its number of threads, 1 by default. Assigning to it changes the steps that it
    names. Answers keep their order. If steps fail, the exception of the first micro batch among them is raised.
    """

    def __init__(
        self, parent_handler: Any, micro_batch_size: int = 1, parallelism: Mapping[str, int] | None = None
    ) -> None:
        if micro_batch_size < 1:
            raise ValueError(f"micro_batch_size must be at least 1, not {micro_batch_size}")
        self.handler = parent_handler
        self.micro_batch_size = micro_batch_size
        self._parallelism: dict[str, int] = {}
        self._pools = {step: _pool(step, 1) for step in HANDLER_METHODS}
        self._local = threading.local()
        self.parallelism = parallelism or {}

    @property
    def parallelism(self) -> dict[str, int]:
        return dict(self._parallelism)

    @parallelism.setter
    def parallelism(self, parallelism: Mapping[str, int]) -> None:
        wrong = {step: threads for step, threads in parallelism.items() if step not in HANDLER_METHODS or threads < 1}
        if wrong:
            raise ValueError(f"parallelism is at least 1 for each of {', '.join(HANDLER_METHODS)}; it can't be {wrong}")
        for step, threads in parallelism.items():
            if threads != self._parallelism.get(step, 1):
                self._pools[step].shutdown()
                self._pools[step] = _pool(step, threads)
        self._parallelism.update(parallelism)

    def shutdown(self) -> None:
        """End the threads after their current work."""
        for pool in self._pools.values():
            pool.shutdown()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # __init__ raised before it made the pools
            for pool in self._pools.values():
                pool.shutdown(wait=False)

    def get_micro_batch_idx(self) -> int | None:
        """Return the number of the micro batch that the calling thread works on, or None outside of a step."""
        return getattr(self._local, "index", None)

    def handle(self, data: Any) -> list[Any]:
        """Return the answers for the batch `data`, computed in micro batches."""
        size = self.micro_batch_size
        parts = [data[start : start + size] for start in range(0, len(data), size)]
        futures: list[Future[Any]] = [Future() for _ in parts]
        for index, (part, future) in enumerate(zip(parts, futures, strict=True)):
            self._begin(0, index, part, future)
        failed = [error for error in [future.exception() for future in futures] if error]
        if failed:
            raise failed[0]
        return [item for future in futures for item in future.result()]

    def _begin(self, step: int, index: int, data: Any, future: Future[Any]) -> None:
        self._pools[HANDLER_METHODS[step]].submit(self._run, step, index, data, future)

    def _run(self, step: int, index: int, data: Any, future: Future[Any]) -> None:
        self._local.index = index
        try:
            data = getattr(self.handler, HANDLER_METHODS[step])(data)
            if step + 1 < len(HANDLER_METHODS):
                self._begin(step + 1, index, data, future)
            else:
                future.set_result(data)
        except BaseException as error:  # noqa: BLE001  it belongs to the thread that waits for the batch
            future.set_exception(error)

    def __call__(self, data: Any, context: Any) -> Any:
        """Handle a batch as BaseHandler.handle does. Descriptions, explanations and profiled batches are not cut."""
        started = time.perf_counter()
        handler = self.handler
        handler.context = context
        if profiling():
            output, _ = handler._infer_with_profiler(data=data)  # noqa: SLF001
        elif handler._is_describe():  # noqa: SLF001
            output = [handler.describe_handle()]
        elif handler._is_explain():  # noqa: SLF001
            output = handler.explain_handle(handler.preprocess(data), data)
        else:
            output = self.handle(data)
        context.metrics.add_time("HandlerTime", round((time.perf_counter() - started) * 1000.0, 2), None, "ms")
        return output


def _pool(step: str, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix=step)
