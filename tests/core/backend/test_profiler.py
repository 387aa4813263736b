"""The worker's side of a profile: begun and ended by the front, bounded, and sent in pieces behind the answers."""

from __future__ import annotations

import gzip
import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from torchserve.core.backend import profiler as module
from torchserve.core.backend import sampled_stacks
from torchserve.core.backend.profiler import MOST_BATCHES, Profiler, begin_recording
from torchserve.core.backend.sampled_stacks import SampledStacks, _Calls
from torchserve.core.payload import Body
from torchserve.core.wire.frames import Frame, FrameReader
from torchserve.core.wire.messages import Profile, Profiled, ToFront

BEGIN, END = Profile(3, begin=True), Profile(3, begin=False)


class Recorded:
    kind = "a double"

    def __init__(self, data: bytes = b"{}", error: Exception | None = None) -> None:
        self.data, self.error, self.stopped = data, error, 0

    def stop(self) -> None:
        self.stopped += 1

    def write(self, path: Path) -> None:
        if self.error is not None:
            raise self.error
        path.write_bytes(self.data)


class Front:
    """What the front gets; `last` is set with the last piece."""

    def __init__(self) -> None:
        self.frames: list[Frame[ToFront]] = []
        self.last = threading.Event()
        self._reader: FrameReader[ToFront] = FrameReader(ToFront, 1 << 27)

    def say(self, buffers: list[Body]) -> None:
        data = memoryview(b"".join(buffers))
        while data:
            place = self._reader.get_buffer()
            taken = min(len(place), len(data))
            place[:taken] = data[:taken]
            self._reader.buffer_updated(taken)
            data = data[taken:]
        frame = self._reader.next_frame()
        assert frame is not None
        self.frames.append(frame)
        if isinstance(frame.message, Profiled) and frame.message.last:
            self.last.set()

    def told(self) -> tuple[Profiled, bytes]:
        """Wait for the last piece; return it and all that came before."""
        assert self.last.wait(60)
        message = self.frames[-1].message
        assert isinstance(message, Profiled)
        return message, b"".join([bytes(body) for frame in self.frames for body in frame.bodies])


def test_what_ran_between_two_orders_becomes_a_file_in_pieces() -> None:
    front, recorded = Front(), Recorded(bytes(range(256)) * 40)
    subject = Profiler(front.say, lambda: recorded)
    subject.take(BEGIN)
    assert subject.active is recorded
    subject.ran()
    subject.ran()
    assert front.frames == []
    subject.take(END)
    last, data = front.told()
    assert (last.number, last.note, last.error) == (3, "a double, 2 batches", "")
    assert gzip.decompress(data) == recorded.data
    assert (subject.active, recorded.stopped) == (None, 1)


def test_it_ends_by_itself_after_so_many_batches_and_the_end_that_comes_then_is_ignored() -> None:
    front, recorded = Front(), Recorded()
    subject = Profiler(front.say, lambda: recorded)
    subject.take(BEGIN)
    for _ in range(MOST_BATCHES):
        subject.ran()
    assert front.told()[0].note == f"a double, {MOST_BATCHES} batches"
    subject.take(END)
    subject.take(Profile(4, begin=True))
    subject.take(END)
    assert subject.active is recorded
    assert recorded.stopped == 1


@pytest.mark.parametrize(
    ("limit", "said"), [("MOST_TRACE", "the trace has 2000 bytes, and may have"), ("MOST_PROFILE", "when compressed")]
)
def test_what_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch, limit: str, said: str) -> None:
    monkeypatch.setattr(module, limit, 10)
    front = Front()
    subject = Profiler(front.say, lambda: Recorded(b"x" * 2000))
    subject.take(BEGIN)
    subject.take(END)
    last, data = front.told()
    assert said in last.error
    assert data == b""


def test_what_fails_is_told_and_the_next_one_may_succeed() -> None:
    front = Front()
    made: list[Any] = [RuntimeError("already on \ud800"), Recorded(error=OSError(28, "no space")), Recorded()]

    def begin() -> Any:
        found = made.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    subject = Profiler(front.say, begin)
    subject.take(BEGIN)
    assert front.told()[0].error == "RuntimeError: already on ?"
    assert subject.active is None
    for error in ("OSError: [Errno 28] no space", ""):
        front.last.clear()
        subject.take(BEGIN)
        subject.take(END)
        assert front.told()[0].error == error


def test_a_front_that_is_gone_ends_nothing_but_the_profile(caplog: pytest.LogCaptureFixture) -> None:
    over = threading.Event()

    def gone(_: object) -> None:
        over.set()
        raise BrokenPipeError

    caplog.set_level("INFO")
    subject = Profiler(gone, Recorded)
    subject.take(BEGIN)
    subject.take(END)
    assert over.wait(60)
    for thread in threading.enumerate():
        if thread.name == "profile":
            thread.join(60)
    assert "the front is gone" in caplog.text


def test_a_handler_that_is_profiled_already_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", sys)
    monkeypatch.setenv("ENABLE_TORCH_PROFILER", "true")
    with pytest.raises(RuntimeError, match="ENABLE_TORCH_PROFILER"):
        begin_recording()


# ---- sampled stacks


def frame_in(inner: str) -> Any:
    """Return the frame of a function `outer` that calls one named `inner`."""
    scope: dict[str, Any] = {"sys": sys}
    exec(f"def {inner}(): return sys._getframe()\ndef outer(): return {inner}()", scope)
    return scope["outer"]()


def test_calls_last_from_the_look_that_saw_them_first_to_the_one_that_saw_them_no_more() -> None:
    calls = _Calls()
    frame = sys._getframe()
    calls.seen(1_000_000, {1: frame})
    calls.seen(2_000_000, {1: frame, 2: frame})
    calls.seen(3_000_000, {2: frame_in("one")})
    calls.seen(4_000_000, {})
    events = list(calls.events({1: "main"}))
    assert {event["args"]["name"] for event in events if event["ph"] == "M"} == {"main", "thread 2"}
    own = [event for event in events if event["name"] == frame.f_code.co_qualname]
    assert [(event["tid"], event["ts"], event["dur"]) for event in own] == [(1, 1000.0, 2000.0), (2, 2000.0, 2000.0)]
    assert own[0]["args"] == {"file": __file__, "line": frame.f_code.co_firstlineno}


def test_they_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampled_stacks, "MOST_EVENTS", 1000)
    calls = _Calls()
    frames = [frame_in("one"), frame_in("other")]
    now = 0
    while not calls.full:
        calls.seen(now, dict.fromkeys(range(64), frames[now % 2]))
        now += 1
    assert len(list(calls.events({}))) < 1000 + 64 * 3


def test_a_thread_that_waits_is_seen_where_it_waits(tmp_path: Path) -> None:
    free = threading.Event()

    def held_up() -> None:
        free.wait()

    waiting = threading.Thread(target=held_up, name="waits")
    waiting.start()
    recording = SampledStacks()
    while waiting.ident not in recording._calls._going_on:  # nothing else tells that it has looked
        threading.Event().wait(0.001)
    recording.stop()
    free.set()
    waiting.join()
    recording.write(tmp_path / "trace.json")
    names = [event["name"] for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]]
    assert any(name.endswith("held_up") for name in names)
    assert "thread_name" in names
