"""TrialMemory: who may try, what the next start knows of it, and which files say nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.handlers.speed import trial_memory
from torchserve.core.handlers.speed.trial_key import trial_key
from torchserve.core.handlers.speed.trial_memory import LONGEST, MOST_AGE, Outcome, TrialMemory

KEY = "a" * 40
TAKEN = Outcome(True, "frozen: measured 2.00 for 1 times as fast")


class Now:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Now:
    return Now()


@pytest.fixture
def memory(tmp_path: Path, clock: Now) -> Callable[[], TrialMemory]:
    """What makes the memory of one start after another."""
    return lambda: TrialMemory(tmp_path / "trials", KEY, clock)


def written(memory: Callable[[], TrialMemory], path: Path) -> Path:
    """Have an outcome remembered, and return the file."""
    first = memory()
    assert first.claim()
    first.remember("freeze", TAKEN)
    first.release()
    return path / "trials" / f"{KEY}.json"


def known(memory: Callable[[], TrialMemory]) -> dict[str, Outcome]:
    later = memory()
    assert later.claim()
    later.release()
    return dict(later.outcomes)


def test_the_next_start_knows_what_the_last_one_found(memory: Callable[[], TrialMemory], tmp_path: Path) -> None:
    written(memory, tmp_path)
    assert known(memory) == {"freeze": TAKEN}


def in_another_process(call: Callable[[], bool]) -> bool:
    """Return what `call` returns in a child of this process."""
    child = os.fork()
    if child == 0:
        os._exit(0 if call() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_one_worker_of_a_machine_tries_at_a_time(memory: Callable[[], TrialMemory], tmp_path: Path) -> None:
    first = memory()
    assert first.claim()
    other = TrialMemory(tmp_path / "trials", "b" * 40)
    assert not in_another_process(memory().claim)
    assert not in_another_process(other.claim), "nor one of another model, which would disturb the measurements"
    first.remember("freeze", TAKEN)
    first.release()
    assert in_another_process(memory().claim)


def dies_while_it_tries(memory: Callable[[], TrialMemory]) -> None:
    def die() -> bool:
        doomed = memory()
        doomed.claim()
        doomed.begin("freeze")
        os._exit(9)

    in_another_process(die)


def test_a_worker_that_dies_leaves_the_lock_and_is_counted(memory: Callable[[], TrialMemory]) -> None:
    for count in (1, 2):
        dies_while_it_tries(memory)
        later = memory()
        assert later.claim()
        assert (later.deaths("freeze"), later.deaths("threads")) == (count, 0)
        later.release()
    last = memory()
    assert last.claim()
    last.begin("freeze")
    last.stop("freeze")
    assert last.deaths("freeze") == 2, "a server that stops in the middle says nothing of the model"
    last.remember("freeze", TAKEN)
    assert last.deaths("freeze") == 0


def spoil_text(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def spoil_key(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(KEY.encode(), b"b" * 40))


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" " * LONGEST)


def open_to_all(path: Path) -> None:
    path.chmod(0o666)


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def wrong_type(path: Path) -> None:
    entry = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode({**entry, "outcomes": {"freeze": ["yes", 1]}}))


@pytest.mark.parametrize("spoil", [spoil_text, spoil_key, lengthen, open_to_all, link, wrong_type])
def test_a_file_that_is_torn_or_not_ours_says_nothing(
    memory: Callable[[], TrialMemory], tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    path = written(memory, tmp_path)
    spoil(path)
    assert known(memory) == {}
    written(memory, tmp_path)
    assert known(memory) == {"freeze": TAKEN}, "and it is replaced"


@given(data=st.binary(max_size=300))
def test_wild_content_says_nothing(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "wild"
    folder.mkdir(exist_ok=True, mode=0o700)
    (folder / f"{KEY}.json").write_bytes(data)
    memory = TrialMemory(folder, KEY)
    assert memory.claim()
    memory.release()
    assert memory.outcomes == {}


@pytest.mark.parametrize(("later", "still"), [(MOST_AGE, True), (MOST_AGE + 1, False), (-1, False)])
def test_what_is_old_or_from_the_future_is_tried_again(
    memory: Callable[[], TrialMemory], tmp_path: Path, clock: Now, later: float, still: bool
) -> None:
    written(memory, tmp_path)
    clock.now += later
    assert bool(known(memory)) == still


def test_a_folder_that_others_may_write_to_is_not_used(memory: Callable[[], TrialMemory], tmp_path: Path) -> None:
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials").chmod(0o777)
    first = memory()
    assert first.claim(), "each worker tries for itself"
    first.remember("freeze", TAKEN)
    assert dict(first.outcomes) == {"freeze": TAKEN}
    assert list((tmp_path / "trials").iterdir()) == []


def test_a_disk_that_is_full_ends_the_memory_and_not_the_trial(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    memory = TrialMemory(tmp_path / "file" / "trials", KEY)
    assert memory.claim()
    memory.begin("freeze")
    memory.remember("freeze", TAKEN)
    assert dict(memory.outcomes) == {"freeze": TAKEN}


def test_there_are_only_so_many_files(tmp_path: Path, clock: Now, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_memory, "MOST_FILES", 3)
    for number in range(5):
        memory = TrialMemory(tmp_path, f"{number}" * 40, clock)
        assert memory.claim()
        memory.remember("freeze", TAKEN)
        memory.release()
        os.utime(tmp_path / f"{str(number) * 40}.json", (number, number))
    assert sorted(path.name[0] for path in tmp_path.glob("*.json")) == ["2", "3", "4"]


def test_a_note_is_cut(memory: Callable[[], TrialMemory]) -> None:
    first = memory()
    assert first.claim()
    first.remember("freeze", Outcome(False, "x" * 100_000))
    first.release()
    assert len(known(memory)["freeze"].note) == 500


def test_a_key_is_of_the_files_and_of_what_is_said(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(bytes(3 << 20))
    asked: list[int] = []
    first = trial_key(tmp_path, ("torch 2", 4), lambda: asked.append(1))
    assert len(asked) == 3, "a request may be answered between two pieces of a file"
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "model.pyc").touch()
    assert trial_key(tmp_path, ("torch 2", 4)) == first
    assert trial_key(tmp_path, ("torch 2", 8)) != first
    (tmp_path / "weights.pt").write_bytes(bytes((3 << 20) - 1) + b"1")
    assert trial_key(tmp_path, ("torch 2", 4)) != first


def test_of_a_large_file_pieces_are_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    with path.open("wb") as file:
        file.truncate(3 << 30)
    asked: list[int] = []
    first = trial_key(tmp_path, (), lambda: asked.append(1))
    assert len(asked) == 16
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"1")
    assert trial_key(tmp_path, ()) != first
