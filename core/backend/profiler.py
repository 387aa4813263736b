"""Profiler: records what the worker does while it answers, from one order of the front to the next.

A handler that uses torch is recorded by torch's profiler, which follows the thread that begins and ends it: the one
that runs the batches. Of any other, a thread looks at the stacks of all threads now and again. The recording becomes a
file in Chrome's trace format, compressed, in a thread of its own: the next batch needn't wait for that.
"""

from __future__ import annotations

import gzip
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from ..payload import Body
from ..wire.frames import encode
from ..wire.messages import MOST_PROFILE, Profile, Profiled
from .sampled_stacks import SampledStacks

log = logging.getLogger(__name__)

MOST_BATCHES: Final = 500  # that one recording covers: torch's profiler keeps each operator in memory
MOST_TRACE: Final = 1 << 30  # bytes of a trace before it is compressed
_PIECE: Final = 1 << 18  # bytes that are sent at a time, between which answers have their turn


class Recording(Protocol):
    """An interface for what is being recorded. `kind` says by what."""

    kind: str

    def stop(self) -> None:
        """End the recording. This must be called by the thread that began it."""

    def write(self, path: Path) -> None:
        """Write what was recorded as Chrome's trace. May be called by another thread."""


class TorchRecording:
    """A recording by torch's profiler: the operators of this thread, and the GPU's kernels."""

    kind = "torch.profiler"

    def __init__(self) -> None:
        from torch import profiler

        self._profile = profiler.profile(activities=list(profiler.supported_activities()), record_shapes=True)
        self._profile.start()

    def stop(self) -> None:
        self._profile.stop()

    def write(self, path: Path) -> None:
        self._profile.export_chrome_trace(str(path))


def begin_recording() -> Recording:
    """Begin to record by what suits the handler. Raises whatever torch does."""
    if "torch" not in sys.modules:
        return SampledStacks()
    if os.environ.get("ENABLE_TORCH_PROFILER", "").lower() not in {"", "0", "false", "no", "off"}:
        raise RuntimeError("the handler runs each batch under torch.profiler already (ENABLE_TORCH_PROFILER)")
    return TorchRecording()


class Profiler:
    """The recording that is under way, if one is. All but the writing is done by the thread that runs the batches.

    `say` sends a frame to the front, and may be called by any thread.
    """

    def __init__(self, say: Callable[[list[Body]], None], begin: Callable[[], Recording] = begin_recording) -> None:
        self.active: Recording | None = None
        self._say = say
        self._begin = begin
        self._number = 0
        self._batches = 0

    def take(self, order: Profile) -> None:
        """Begin or end a recording, as the front says. The end of one that has ended already is ignored."""
        if not order.begin:
            if self.active is not None and order.number == self._number:
                self._end(self.active)
            return
        self._number, self._batches = order.number, 0
        try:
            self.active = self._begin()
        except Exception as error:  # noqa: BLE001  (whatever torch raises is the answer)
            self._refuse(order.number, error)

    def ran(self) -> None:
        """Count a batch that ran while a recording was under way."""
        self._batches += 1
        if self.active is not None and self._batches >= MOST_BATCHES:
            self._end(self.active)

    def _end(self, recording: Recording) -> None:
        self.active = None
        try:
            recording.stop()
        except Exception as error:  # noqa: BLE001
            self._refuse(self._number, error)
            return
        told = f"{recording.kind}, {self._batches} batches"
        writing = threading.Thread(
            target=self._write, args=(self._number, recording, told), name="profile", daemon=True
        )
        writing.start()

    def _write(self, number: int, recording: Recording, told: str) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="torchserve-profile-") as folder:
                packed = _packed(recording, Path(folder) / "trace.json")
        except Exception as error:  # noqa: BLE001  (a full disk, or whatever torch raises)
            self._refuse(number, error)
            return
        try:
            for at in range(0, len(packed), _PIECE):
                self._say(encode(Profiled(number), [packed[at : at + _PIECE]]))
            self._say(encode(Profiled(number, last=True, note=told)))
        except OSError:
            log.info("the front is gone before it had the profile")

    def _refuse(self, number: int, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        self._say(encode(Profiled(number, last=True, error=text[:1000].encode("utf-8", "replace").decode())))


def _packed(recording: Recording, path: Path) -> memoryview:
    """Return the compressed trace. Raises ValueError if it is too large, and whatever writing it raises."""
    recording.write(path)
    size = path.stat().st_size
    if size > MOST_TRACE:
        raise ValueError(f"the trace has {size} bytes, and may have {MOST_TRACE}: profile fewer seconds")
    packed = path.with_suffix(".gz")
    with path.open("rb") as plain, gzip.open(packed, "wb", compresslevel=5) as target:
        while piece := plain.read(1 << 20):
            target.write(piece)
    if (size := packed.stat().st_size) > MOST_PROFILE:
        raise ValueError(
            f"the trace has {size} bytes when compressed, and may have {MOST_PROFILE}: profile fewer seconds"
        )
    return memoryview(packed.read_bytes())
