"""A pretended GPU: streams whose work is done as late as the program's own waits allow, on memory that holds poison till
then. Code that waits too little reads poison, or another batch's pixels, every time.

It stands in for what kernels/pipeline.py and kernels/graphs.py take from torch.cuda. Work is a closure; copies with non_blocking, and what a test
gives to `late`, become work of the current stream. Everything else is done at once, as the host does it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

POISON = 0xAA


class Event:
    """Done when the work that was in its stream at the last `record` is; at once if there was no such call."""

    def __init__(self) -> None:
        self.stream: Stream | None = None
        self.until = 0

    def record(self, stream: Stream) -> None:
        self.stream, self.until = stream, stream.given

    def synchronize(self) -> None:
        if self.stream is not None:
            self.stream.run(self.until)


class Stream:
    """Work in its order; `given` and `done` count it."""

    def __init__(self, device: Any = None) -> None:
        self.work: list[Callable[[], None]] = []
        self.given = 0
        self.done = 0
        self.recording: Graph | None = None

    def put(self, work: Callable[[], None]) -> None:
        if self.recording is not None:
            self.recording.work.append(work)
            return
        self.work.append(work)
        self.given += 1

    def wait_event(self, event: Event) -> None:
        recorded = Event()  # as it is now: a later record changes nothing here
        recorded.stream, recorded.until = event.stream, event.until
        self.put(recorded.synchronize)

    def run(self, until: int | None = None) -> None:
        while self.work and (until is None or self.done < until):
            work = self.work.pop(0)
            self.done += 1
            with torch._C.DisableTorchFunction(), torch.inference_mode():  # a device knows no such modes
                work()


class Graph:
    """The work that a stream was given while it recorded; none of it was done then."""

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []

    def pool(self) -> Graph:
        return self


class Gpu(TorchFunctionMode):
    """The device; its tensors are on the CPU in truth."""

    def __init__(self) -> None:
        super().__init__()
        self.main = Stream()
        self.current = self.main
        self.streams = [self.main]

    def stream_made(self, device: Any = None) -> Stream:
        self.streams.append(Stream())
        return self.streams[-1]

    @contextlib.contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def late(self, work: Callable[..., None]) -> Callable[..., None]:
        """`work` as a kernel: called, it is put into the current stream."""
        return lambda *arguments, **options: self.current.put(lambda: work(*arguments, **options))

    def graph_made(self) -> Graph:
        made = Graph()
        made.replay = lambda: [self.current.put(work) for work in made.work]
        return made

    @contextlib.contextmanager
    def recorded(self, graph: Graph, *, pool: Any, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        """As torch.cuda.graph, which first waits for the whole device."""
        assert (pool, capture_error_mode) == (pool, "thread_local")
        self.finish()
        stream.recording = graph
        try:
            with self.on(stream):
                yield
        finally:
            stream.recording = None

    def finish(self) -> None:
        for stream in self.streams:
            stream.run()

    def finish_in_turns(self) -> None:
        """A piece of work of each stream after the other, as a device does that has room for them all."""
        while any(stream.work for stream in self.streams):
            for stream in self.streams:
                stream.run(stream.done + 1)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = dict(kwargs or {})
        if func is torch.zeros:
            options.pop("device", None)
            return func(*args, **options)
        if func in (torch.empty, torch.empty_like):
            options.pop("device", None)
            options.pop("pin_memory", None)
            made = func(*args, **options)
            return made.fill_(torch.nan if made.is_floating_point() else POISON)
        if func is Tensor.copy_ and options.pop("non_blocking", False):
            self.current.put(lambda: args[0].copy_(args[1]))
            return args[0]
        return func(*args, **options)


@contextlib.contextmanager
def gpu(monkeypatch: Any) -> Iterator[Gpu]:
    """In its block torch.cuda is this device."""
    device = Gpu()
    stand_ins = {
        "Stream": device.stream_made,
        "Event": Event,
        "stream": device.on,
        "current_stream": lambda _: device.current,
        "device": contextlib.nullcontext,
        "CUDAGraph": device.graph_made,
        "graph": device.recorded,
    }
    for name, value in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, value)
    with device:
        yield device
