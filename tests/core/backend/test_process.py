"""The backend as a process, over a real socketpair."""

from __future__ import annotations

import gzip
import json
import os
import platform
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from torchserve.core.payload import Body
from torchserve.core.wire.frames import Frame, FrameReader, encode
from torchserve.core.wire.messages import (
    Answer,
    Load,
    Loaded,
    PartHead,
    Partial,
    Predict,
    Profile,
    Profiled,
    Row,
    ToFront,
)

DEADLINE = 60.0

ECHO = """
    import os, resource, sys, time
    from ts.handler_utils.utils import send_intermediate_predict_response

    class Echo:
        def initialize(self, context):
            print("loading", sorted(name for name in ("torch", "aiohttp", "click") if name in sys.modules))

        def handle(self, data, context):
            out = []
            for row in data:
                command, _, rest = bytes(row["body"]).decode().partition(" ")
                if command == "raise":
                    raise ValueError(rest)
                if command == "sysexit":
                    sys.exit(3)
                if command == "exit":
                    print("last words")
                    os._exit(int(rest))
                if command == "print":
                    for _ in range(int(rest)):
                        print("p" * 1023)
                        print("e" * 1023, file=sys.stderr)
                if command == "stream":
                    for part in range(int(rest)):
                        send_intermediate_predict_response([f"part{part}"] * len(data), None, "", 200, context)
                if command == "sleep":
                    time.sleep(float(rest))
                if command == "faults":
                    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
                    pieces = [bytearray(int(rest)) for _ in range(2)]
                    out.append(str(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before))
                    continue
                out.append(b"x" * int(rest) if command == "big" else str(len(row["body"])))
            return out if command != "short" else out[1:]
"""


class Backend:
    """A backend process seen from the front."""

    def __init__(self, folder: Path, handler: str = "echo.py") -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(DEADLINE)
        self.reader = FrameReader(ToFront, 1 << 30)
        command = [
            sys.executable,
            "-m",
            "torchserve.core.backend",
            "--fd",
            str(theirs.fileno()),
            "--name",
            "W-9000-m_1.0",
        ]
        self.out = folder / "stdout"
        self.err = folder / "stderr"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                command,
                env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        theirs.close()
        self.sock.sendmsg(encode(Load("m", "1.0", str(folder), handler, 4)))

    def receive(self) -> Frame | None:
        while (frame := self.reader.next_frame()) is None:
            received = self.sock.recv_into(self.reader.get_buffer())
            if not received:
                return None
            self.reader.buffer_updated(received)
        return frame

    def send(self, *bodies: Body) -> None:
        rows = tuple(Row(f"r{index}", (PartHead("body", ""),), {}) for index in range(len(bodies)))
        for buffer in encode(Predict(1, rows), bodies):
            self.sock.sendall(buffer)

    def ask(self, *bodies: Body) -> Frame:
        self.send(*bodies)
        frame = self.receive()
        assert frame is not None
        return frame

    def close(self) -> None:
        self.sock.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE)


@pytest.fixture
def backend(write_model) -> Iterator[Backend]:
    started = Backend(write_model({"echo.py": ECHO}))
    try:
        frame = started.receive()
        assert frame is not None, started.err.read_text()
        assert frame.message == Loaded(200, "Model m loaded.")
        yield started
    finally:
        started.close()


def test_predicts_and_keeps_predicting(backend: Backend) -> None:
    frame = backend.ask(b"a", b"bcd")
    assert isinstance(frame.message, Answer)
    assert frame.message.code == 200
    assert frame.bodies == (b"1", b"3")
    assert backend.ask(b"x").bodies == (b"1",)


def test_torch_and_the_web_are_not_loaded_for_an_echo(backend: Backend) -> None:
    assert backend.out.read_text() == "loading []\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (b"raise secret", "Prediction failed"),
        (b"sysexit", "Prediction failed"),
        (b"short", "number of batch response mismatched: expected 2, got 1"),
    ],
)
def test_failing_handlers_are_answered_and_traced(backend: Backend, command: bytes, message: str) -> None:
    frame = backend.ask(b"a", command)
    assert (frame.message.code, frame.message.message, frame.bodies) == (503, message, ())
    assert backend.ask(b"x").message.code == 200
    if command != b"short":
        assert "Traceback (most recent call last)" in backend.err.read_text()


def test_streaming(backend: Backend) -> None:
    first = backend.ask(b"stream 2")
    assert isinstance(first.message, Partial)
    assert first.bodies == (b"part0",)
    assert [backend.receive().bodies, backend.receive().bodies] == [(b"part1",), (b"8",)]


def test_megabytes_in_and_out(backend: Backend) -> None:
    assert backend.ask(b"x" * 9_000_000).bodies == (b"9000000",)
    (body,) = backend.ask(b"big 6000000").bodies
    assert bytes(body) == b"x" * 6_000_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries keep what they like")
def test_large_results_of_one_batch_are_the_memory_of_the_next(backend: Backend) -> None:
    pages = [int(bytes(backend.ask(b"faults 40000000").bodies[0])) for _ in range(2)]
    assert pages[0] > 15_000
    assert pages[1] < 100


def test_many_bodies_at_once(backend: Backend) -> None:
    bodies = [b"big 5000"] * 1500  # more buffers than one sendmsg takes
    assert [bytes(body) for body in backend.ask(*bodies).bodies] == [b"x" * 5000] * 1500


def test_megabytes_of_prints_reach_both_streams_whole(backend: Backend) -> None:
    assert backend.ask(b"print 3000").message.code == 200
    assert backend.out.read_text().count("p" * 1023 + "\n") == 3000
    assert backend.err.read_text() == ("e" * 1023 + "\n") * 3000


def test_an_exit_by_the_handler_ends_the_stream_and_gives_its_code(backend: Backend) -> None:
    backend.send(b"exit 7")
    assert backend.receive() is None
    assert backend.process.wait(DEADLINE) == 7
    assert backend.out.read_text().endswith("last words\n")


def test_the_end_of_the_stream_ends_it(backend: Backend) -> None:
    backend.sock.shutdown(socket.SHUT_WR)
    assert backend.process.wait(DEADLINE) == 0
    assert backend.err.read_text() == ""


def test_a_cut_frame_is_told(backend: Backend) -> None:
    backend.sock.sendall(b"TSW1\x00")
    backend.sock.shutdown(socket.SHUT_WR)
    assert backend.process.wait(DEADLINE) == 0
    assert "in the middle of a frame" in backend.out.read_text()


def test_garbage_ends_it_with_a_reason(backend: Backend) -> None:
    backend.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert backend.process.wait(DEADLINE) == 1
    assert "the front broke the protocol: expected a frame, got b'GET '" in backend.out.read_text()


def test_a_front_that_closed_before_the_answer_is_no_crash(backend: Backend) -> None:
    backend.send(b"sleep 0.2")
    backend.sock.close()
    assert backend.process.wait(DEADLINE) == 0
    assert "Traceback" not in backend.err.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_that_is_the_fronts_does_not_end_it(backend: Backend, number: signal.Signals) -> None:
    backend.process.send_signal(number)
    assert backend.ask(b"x").message.code == 200
    backend.process.send_signal(number)
    assert backend.ask(b"x").message.code == 200
    told = f"goes on: {number.name} is for the server's process" in backend.err.read_text()
    assert told is (number != signal.SIGINT)


def test_sigquit_shows_what_it_does(backend: Backend) -> None:
    backend.process.send_signal(signal.SIGQUIT)
    assert backend.ask(b"x").message.code == 200
    assert "(most recent call first)" in backend.err.read_text()


@pytest.mark.parametrize(
    "start",
    [
        "subprocess.Popen(['sleep', '600'])",
        "multiprocessing.get_context('fork').Process(target=time.sleep, args=(600,))",
    ],
)
def test_what_the_handler_starts_obeys_signals(tmp_path: Path, start: str) -> None:
    script = (
        "import multiprocessing, subprocess, time\n"
        "from torchserve.core.backend.signals import take_signals\n"
        f"take_signals('W-1')\nchild = {start}\n"
        "getattr(child, 'start', bool)()\n"
        "child.terminate()\n"
        "child.wait() if hasattr(child, 'wait') else child.join()\n"
        "print(getattr(child, 'returncode', None) or child.exitcode)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    assert done.stdout == f"{-signal.SIGTERM}\n"


@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        ("raise ValueError('no weights')\n", 500, "ValueError: no weights (bad.py:1)"),
        ("raise MemoryError\n", 507, "MemoryError (bad.py:1)"),
        (
            "import threading, time\nthreading.Thread(target=lambda: time.sleep(1000)).start()\n1 / 0\n",
            500,
            "ZeroDivisionError: division by zero (bad.py:3)",
        ),
    ],
)
def test_a_failing_load_is_told_and_ends_the_process(write_model, source: str, code: int, message: str) -> None:
    backend = Backend(write_model({"bad.py": source}), "bad.py")
    try:
        frame = backend.receive()
        assert frame is not None
        assert (frame.message.code, frame.message.message) == (code, message)
        assert backend.receive() is None
        assert backend.process.wait(DEADLINE) == 1
        assert frame.message.failure.traceback in backend.err.read_text()
    finally:
        backend.close()


def test_the_fronts_working_folder_is_not_imported_from(write_model, tmp_path: Path, monkeypatch) -> None:
    front = tmp_path / "front"
    front.mkdir()
    (front / "stray.py").write_text("")
    monkeypatch.chdir(front)
    backend = Backend(write_model({"h.py": "import stray\n"}), "h.py")
    try:
        frame = backend.receive()
        assert frame is not None
        assert "No module named 'stray'" in frame.message.message
    finally:
        backend.close()


MIDDLEMAN = """
import subprocess, sys
fd = sys.argv[1]
child = subprocess.Popen([sys.executable, "-m", "torchserve.core.backend", "--fd", fd, "--name", "W"], pass_fds=[int(fd)])
print(child.pid, flush=True)
child.wait()
"""


def test_the_death_of_its_parent_ends_it_even_while_a_handler_runs(write_model) -> None:
    folder = write_model({"echo.py": ECHO})
    ours, theirs = socket.socketpair()
    reader = FrameReader(ToFront, 1 << 20)
    ours.settimeout(DEADLINE)
    parent = subprocess.Popen(
        [sys.executable, "-c", MIDDLEMAN, str(theirs.fileno())], pass_fds=[theirs.fileno()], stdout=subprocess.PIPE
    )
    theirs.close()
    try:
        assert parent.stdout is not None
        pidfd = os.pidfd_open(int(parent.stdout.readline()))
        ours.sendmsg(encode(Load("m", "1.0", str(folder), "echo.py", 1)))
        while reader.next_frame() is None:
            reader.buffer_updated(ours.recv_into(reader.get_buffer()))
        ours.sendmsg(encode(Predict(1, (Row("r", (PartHead("body", ""),), {}),)), [b"sleep 1000"]))
    finally:
        parent.kill()
        parent.wait(DEADLINE)
        if parent.stdout is not None:
            parent.stdout.close()
    try:
        assert select.select([pidfd], [], [], DEADLINE)[0], "the backend outlived its parent"
    finally:
        os.close(pidfd)
        ours.close()


def test_a_parent_that_died_before_the_start_is_noticed() -> None:
    ours, theirs = socket.socketpair()
    command = [
        sys.executable,
        "-m",
        "torchserve.core.backend",
        "--fd",
        str(theirs.fileno()),
        "--name",
        "W",
        "--parent",
        "1",
    ]
    with ours, theirs:
        done = subprocess.run(
            command, pass_fds=[theirs.fileno()], capture_output=True, text=True, timeout=DEADLINE, check=False
        )
    assert done.returncode == 1
    assert "the parent process 1 has gone" in done.stderr


def profiled(backend: Backend) -> Profiled:
    """Receive a profile, and return its last piece, whose file must be one that viewers open."""
    data = b""
    while (frame := backend.receive()) is not None:
        assert isinstance(frame.message, Profiled)
        data += b"".join(bytes(body) for body in frame.bodies)
        if frame.message.last:
            assert "traceEvents" in json.loads(gzip.decompress(data) if data else "{}"), frame.message.error
            return frame.message
    raise AssertionError("the process has ended")


@pytest.mark.parametrize(
    ("code", "mapped"), [(ECHO, False), ("import torch\n\ndef handle(data, context):\n    return data\n", True)]
)
def test_a_start_costs_torch_only_where_the_handler_imports_it(write_model, code: str, mapped: bool) -> None:
    backend = Backend(write_model({"echo.py": code}))
    try:
        assert backend.receive() is not None
        assert ("libtorch" in Path(f"/proc/{backend.process.pid}/maps").read_text()) is mapped
        backend.sock.sendmsg(encode(Profile(1, begin=True)))
        assert isinstance(backend.ask(b"a").message, Answer)
        backend.sock.sendmsg(encode(Profile(1, begin=False)))
        told = profiled(backend)
        assert told.note.startswith("torch.profiler, " if mapped else "stacks, sampled"), told.error
        assert told.note.endswith(", 1 batches")
    finally:
        backend.close()
