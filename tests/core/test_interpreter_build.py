"""How an interpreter was built: by what `configure` was told, and by where the functions of one source file lie."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from torchserve.core import interpreter_build
from torchserve.core.interpreter_build import describe_build, describe_interpreter, function_addresses, is_profiled

# The functions of lists as they lie in real builds, in bytes from the first.
DEBIAN = [0, 545408, 755264, 1274416, 1358752, 88064, 1544608, 512640, 89600, 1544672, 49072]  # 3.11.2
PLAIN = [0, 6464, 6528, 6640, 6816, 7520, 7808, 7920, 8000, 8096, 8384]  # 3.11.7, without options
BY_HAND = "'--enable-shared' '--prefix=/usr' 'CC=gcc'"  # what Debian's says of itself, and a plain build as well
TUNED = "'--enable-optimizations' '--with-lto'"


@pytest.mark.parametrize(
    ("configured", "addresses", "profiled"),
    [
        (TUNED, DEBIAN, True),
        (TUNED, PLAIN, True),  # what a build was told counts
        (TUNED, [], True),
        (BY_HAND, DEBIAN, True),
        (None, DEBIAN, True),
        (BY_HAND, PLAIN, False),
        ("", PLAIN, False),
        ("'--with-lto'", PLAIN, False),
        (None, PLAIN, None),  # nothing is known of its options
        (BY_HAND, [], None),
        (BY_HAND, PLAIN[:1], None),
        (BY_HAND, [1 << 20 | each for each in PLAIN[::-1]], None),  # another order, but all of them together
        (BY_HAND, [each << 8 for each in PLAIN], None),  # the source's order, but far apart
        (None, [], None),
    ],
)
def test_builds(configured: str | None, addresses: list[int], profiled: bool | None) -> None:
    assert is_profiled(configured, addresses) is profiled


@pytest.mark.parametrize(
    ("profiled", "configured", "text"),
    [
        (True, TUNED, "Python 3.14.0, built with profile-guided optimisation and --with-lto"),
        (True, BY_HAND, "Python 3.14.0, built with profile-guided optimisation"),
        (False, "", "Python 3.14.0, built without profile-guided optimisation: the front takes"),
        (False, "'--with-lto'", "Python 3.14.0, built without profile-guided optimisation and --with-lto: the front"),
        (None, None, "Python 3.14.0, whether built with profile-guided optimisation is unknown"),
    ],
)
def test_what_is_told(profiled: bool | None, configured: str | None, text: str) -> None:
    assert describe_build("3.14.0", profiled, configured).startswith(text)


def test_this_interpreter_is_told_alike_by_its_own_process() -> None:
    assert len(function_addresses()) == len(DEBIAN)
    script = Path(interpreter_build.__file__)
    told = subprocess.run([sys.executable, "-P", script], capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout == f"{describe_interpreter()}\n"
