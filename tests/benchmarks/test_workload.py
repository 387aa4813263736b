"""Bodies of different lengths, and those of a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.workload import UnavailableError, Workload, from_folder, ragged_texts

ECHO = Workload("echo", Path("echo.mar"), b"x", "text/plain", lambda n: [b"x"] * n, bytes)


def test_texts_are_ragged_and_the_same_each_time() -> None:
    texts = ragged_texts()
    assert texts == ragged_texts()
    lengths = sorted(len(text.split()) for text in texts)
    assert (lengths[0], lengths[-1]) == (3, 200)
    assert 10 <= lengths[len(lengths) // 2] <= 30


def test_the_files_of_a_folder_are_sent_in_turn(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.jpg").write_bytes(name.encode())
    made = from_folder(ECHO, tmp_path)
    assert (made.body, made.ragged, made.content_type) == (b"a", (b"a", b"b", b"c"), "image/jpeg")
    assert made.bodies(4) == [b"a", b"b", b"c", b"a"]
    assert (made.name, made.expected) == ("echo", bytes)


@pytest.mark.parametrize(
    ("files", "reason"),
    [(["a.txt", "b.jpg"], "files of one type are needed, these are image/jpeg, text/plain"), ([], "holds no file")],
)
def test_a_folder_that_is_no_use_says_why(tmp_path: Path, files: list[str], reason: str) -> None:
    for name in files:
        (tmp_path / name).write_text("x")
    with pytest.raises(UnavailableError, match=reason):
        from_folder(ECHO, tmp_path)
