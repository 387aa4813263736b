"""The stacks of a process: read whatever it does, the lock of the interpreter held in C code included."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from torchserve.core.process_stacks import StacksUnknown, read_stacks, shortened

from .doubles import until

Start = Callable[..., subprocess.Popen[str]]

HANGING = {
    "holds the interpreter's lock in C": "import ctypes, os\ndef hang():\n    ctypes.PyDLL(None).read(os.pipe()[0], ctypes.create_string_buffer(1), 1)\n",
    "keeps the interpreter busy": "def hang():\n    while True: pass\n",
    "waits": "import time\ndef hang():\n    time.sleep(600)\n",
}
KEPT = "from torchserve.core.process_stacks import keep_stacks\nkeep_stacks()\n"
SAID = "print('ready', flush=True)\n"


@pytest.fixture
def start() -> Iterator[Start]:
    made: list[subprocess.Popen[str]] = []

    def run(source: str) -> subprocess.Popen[str]:
        child = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
        made.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        return child

    yield run
    for child in made:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("how", list(HANGING))
async def test_a_process_that_hangs_tells_where_and_may_be_asked_again(start: Start, how: str) -> None:
    child = start(f"{KEPT}{HANGING[how]}{SAID}hang()")
    await until(lambda: "in hang\n" in read_stacks(child.pid))
    assert read_stacks(child.pid).count("most recent call first") == 1, "only of this look"
    assert child.poll() is None


def test_all_threads_are_told_and_those_that_block_signals_do_not_count(start: Start) -> None:
    deaf = "import signal, threading, time\ndef deaf():\n    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n    told.set(); time.sleep(600)\n"
    child = start(
        f"{KEPT}{deaf}told = threading.Event()\nthreading.Thread(target=deaf, daemon=True).start()\ntold.wait()\n{SAID}time.sleep(600)"
    )
    stacks = read_stacks(child.pid)
    assert "in deaf\n" in stacks
    assert stacks.count("most recent call first") == 2


def test_a_process_that_would_die_of_the_signal_gets_none(start: Start) -> None:
    child = start(f"import time\n{SAID}time.sleep(600)")
    with pytest.raises(StacksUnknown, match="does not take the signal"):
        read_stacks(child.pid)
    assert child.poll() is None


def test_a_process_that_takes_no_signal_is_waited_for_in_vain(start: Start) -> None:
    child = start(f"{KEPT}import time\n{SAID}time.sleep(600)")
    os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(StacksUnknown, match="takes no signal"):
        read_stacks(child.pid, 0.05)


def test_a_process_that_has_ended_is_not_found(start: Start) -> None:
    child = start(SAID)
    child.wait()
    with pytest.raises(StacksUnknown, match=rf"{child.pid} (has ended|does not take)"):
        read_stacks(child.pid)


def test_without_memory_of_its_own_a_file_without_a_name_will_do(start: Start) -> None:
    child = start(f"import os\ndel os.memfd_create\n{KEPT}import time\n{SAID}time.sleep(600)")
    assert "<string>" in read_stacks(child.pid)


def test_the_thread_that_took_the_signal_comes_first_and_the_rest_is_counted() -> None:
    thread = "Thread 0x1 (most recent call first):\n  File a\n\n"
    current = "Current thread 0x2 (most recent call first):\n  File b\n  File c\n"
    assert shortened(thread + current, 9).splitlines()[:4] == [*current.splitlines(), thread.splitlines()[0]]
    assert shortened(thread + current, 2).splitlines() == [*current.splitlines()[:2], "… and 3 lines more"]
    assert shortened("", 5) == ""
