"""LeftOut: why an archive of the model store is not served, until a model is registered from it."""

from __future__ import annotations

import pytest

from torchserve.core.errors import InvalidArchive, ModelNotFound
from torchserve.core.models.left_out import LeftOut


def left_out(**reasons: Exception) -> LeftOut:
    made = LeftOut()
    for name, error in reasons.items():
        made.add(f"{name}.mar", error)
    return made


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (InvalidArchive("no MANIFEST.json"), "no MANIFEST.json"),
        (InvalidArchive("first line\nsecond line"), "first line"),
        (RuntimeError(), "RuntimeError"),
        (InvalidArchive("x" * 300), "x" * 300),
        (InvalidArchive("x" * 301), "x" * 300 + "…"),
    ],
)
def test_one_line_of_the_reason_is_shown_and_of_a_long_one_the_beginning(error: Exception, shown: str) -> None:
    assert list(left_out(a=error)) == [f"The archive a.mar could not be loaded at start: {shown}"]


def test_the_reasons_are_in_the_order_of_the_archives() -> None:
    made = left_out(b=ValueError("two"), a=ValueError("one"))
    assert [line.rpartition(" ")[2] for line in made] == ["one", "two"]


def test_who_asks_for_such_a_model_is_told_why_and_others_are_not() -> None:
    made = left_out(a=ValueError("torn"))
    told = made.explained(ModelNotFound("a"), "a")
    assert str(told) == "Model not found: a. The archive a.mar could not be loaded at start: torn"
    assert isinstance(told, ModelNotFound)
    other = ModelNotFound("b")
    assert made.explained(other, "b") is other


@pytest.mark.parametrize(
    ("archive", "model", "left"),
    [("a.mar", "a", ["b"]), ("other.mar", "a", ["b"]), ("a.mar", "mine", ["b"]), ("c.mar", "c", ["a", "b"])],
)
def test_a_registration_settles_what_was_left_out_under_its_archive_or_name(
    archive: str, model: str, left: list[str]
) -> None:
    made = left_out(a=ValueError("x"), b=ValueError("x"))
    made.registered(archive, model)
    assert [line.split()[2].removesuffix(".mar") for line in made] == left
