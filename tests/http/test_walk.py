"""http/README's walks of one prediction and one registration: the functions they name are those that are called, in that order."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType

import pytest

import torchserve.http.front

from .doubles import FakeDataPlane, answer, connect, post, running_front, until

ROOM = Path(torchserve.http.front.__file__).parent
SECTION = re.compile(
    r"^## One prediction, call by call\n(.*?)^The first request with a head(.*?)^## ", re.DOTALL | re.MULTILINE
)
REGISTRATION = re.compile(r"^## One registration, call by call\n(.*?)^## ", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[([\w.]+)\]\(([\w./]+)\)")
RARE = {"_runs"}  # called for one request of 256, whichever that is
MOST = 16  # calls in http/ for a request whose head has come before
MOST_TO_REGISTER = 60  # functions


def named(text: str) -> list[str]:
    return re.findall(r"`([\w.]+)`", text)


def walk() -> tuple[list[str], list[str]]:
    """What README names for every request, and for the first one with a head besides."""
    found = SECTION.search((ROOM / "README.md").read_text())
    assert found is not None
    return named(found[1].partition("\n- ")[2]), named(found[2])


class Trace:
    """The functions of http/ that are called, each time; comprehensions are not functions to every Python."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        rare = code.co_qualname in RARE
        if event == "call" and not rare and "<" not in code.co_qualname and Path(code.co_filename).is_relative_to(ROOM):
            self.calls.append(code.co_qualname)


async def traced(*paths: str, body: bytes = b"x", api: str = "inference") -> list[str]:
    """What the last of some requests on one connection calls."""
    trace, data = Trace(), FakeDataPlane()
    async with running_front(data=data) as h, connect(h.port(api)) as (reader, writer):
        for number, path in enumerate(paths, start=1):
            if number == len(paths):
                sys.setprofile(trace)
            try:
                writer.write(post(path, body))
                _ = await answer(reader)
            finally:
                sys.setprofile(None)
        await until(lambda: len(h.log) == len(paths))
    return trace.calls


@pytest.fixture
def _unprofiled() -> None:
    if sys.getprofile() is not None:
        pytest.skip("another profiler is at work")


@pytest.mark.usefixtures("_unprofiled")
async def test_a_request_whose_head_has_come_before_calls_what_the_walk_names_in_its_order() -> None:
    every, _ = walk()
    calls = await traced("/predictions/m", "/predictions/m")
    assert calls == every
    assert len(calls) <= MOST


@pytest.mark.usefixtures("_unprofiled")
async def test_the_first_one_calls_what_the_walk_names() -> None:
    every, first = walk()
    calls = await traced("/predictions/m/1.0", "/predictions/m")
    assert set(calls) == {*every, *first}
    assert list(dict.fromkeys(each for each in calls if each not in every)) == [
        each for each in first if each not in every
    ]


def walk_of_a_registration() -> str:
    """Return the list of README's section, without the sentence ahead of it."""
    found = REGISTRATION.search((ROOM / "README.md").read_text())
    assert found is not None
    return found[1].partition("\n- ")[2]


@pytest.mark.usefixtures("_unprofiled")
async def test_a_registration_calls_what_its_walk_names() -> None:
    calls = await traced("/models?url=dogs.mar", "/models?url=cats.mar", body=b"", api="management")
    assert list(dict.fromkeys(calls)) == named(walk_of_a_registration())
    assert len(set(calls)) <= MOST_TO_REGISTER


def test_each_name_of_a_registrations_walk_is_found_by_a_link() -> None:
    text = walk_of_a_registration()
    linked = "".join((ROOM / path).read_text() for _, path in LINK.findall(text))
    missing = [name for name in named(text) if f"def {name.rpartition('.')[2]}(" not in linked]
    assert missing == []
