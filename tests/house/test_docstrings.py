"""First sentences: they hold in every folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import docstrings
from .tree import FOLDERS, REPO, plant, python_files


@pytest.mark.parametrize("folder", [*FOLDERS, "benchmarks"])
def test_first_sentences_open_and_end_as_they_should(folder: str) -> None:
    files = list(python_files(REPO, folder))
    assert files, "a folder that is not there has no faults"
    assert [fault for file in files for fault in docstrings.faults(REPO, file)] == []


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ('def f():\n    """Return the head."""', None),
        ('def f():\n    """Have it run; bring what it needs."""', None),
        ('def f():\n    """Feed `x` to the parser:\n\n    in pieces."""', None),
        ("def f():\n    pass", None),
        ('class C:\n    """A place for one worker."""', None),
        ('class C:\n    """An answer."""\n\n    @property\n    def size(self):\n        """The bytes of it."""', None),
        ('class C:\n    """The answer."""\n\n    def __len__(self):\n        """What it holds."""', None),
        ('def f():\n    """Returns the head."""', "begins with no imperative verb"),
        ('def f():\n    """The head."""', "begins with no imperative verb"),
        ('def f():\n    """Whether it has a head."""', "begins with no imperative verb"),
        ('def f():\n    """`x`, decoded."""', "begins with no imperative verb"),
        ('def f():\n    """Reading goes on."""', "begins with no imperative verb"),
        ('async def f():\n    """Two of them."""', "begins with no imperative verb"),
        ('class C:\n    def f(self):\n        """Who wants a seat."""', "begins with no imperative verb"),
        ('class C:\n    """Who wants a seat."""', 'begins with none of "A", "An", "The"'),
        ('class C:\n    """Anything that runs."""', 'begins with none of "A", "An", "The"'),
        ('def f():\n    """Return the head"""', "no full stop"),
        ('class C:\n    """A place\n\n    for one worker."""', "no full stop"),
    ],
)
def test_a_planted_first_sentence_is_seen(tmp_path: Path, code: str, fault: str | None) -> None:
    plant(tmp_path, "core/planted.py", f"{code}\n")
    seen = docstrings.faults(tmp_path, tmp_path / "core/planted.py")
    assert [each.split(": ")[2] for each in seen] == ([fault] if fault else [])
