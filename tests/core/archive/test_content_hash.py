"""Two archives have the same hash if a model can't tell what was unpacked from them apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchserve.core.archive.content_hash import content_hash


def made(folder: Path, files: dict[str, bytes]) -> bytes:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return content_hash(folder)


SOME = {"handler.py": b"x", "weights/a": bytes(3 << 20)}


@pytest.mark.parametrize(
    "other",
    [
        {**SOME, "handler.py": b"y"},
        {**SOME, "weights/a": bytes((3 << 20) - 1) + b"1"},
        {**SOME, "more": b""},
        {"handler2.py": b"x", "weights/a": bytes(3 << 20)},
        {"handler.py": b"x" + SOME["weights/a"], "weights/a": b""},
    ],
)
def test_another_content_is_another_hash(tmp_path: Path, other: dict[str, bytes]) -> None:
    assert made(tmp_path / "one", SOME) != made(tmp_path / "other", other)


def test_where_it_is_and_what_python_leaves_there_does_not_count(tmp_path: Path) -> None:
    leaves = {"__pycache__/handler.cpython-311.pyc": b"1"}
    assert made(tmp_path / "one", SOME) == made(tmp_path / "other", SOME | leaves)
