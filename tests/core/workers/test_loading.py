"""Which of a load's two times is over when: the handler's own, and that of the server's warm-up."""

from __future__ import annotations

import asyncio
import re

import pytest

from torchserve.core.wire.messages import Initialized, Loaded, Notes
from torchserve.core.workers.loading import Loading
from torchserve.core.workers.protocol_error import WorkerProtocolError

LONG = 3600.0  # seconds
READY = Loaded(200, "")


@pytest.fixture
async def loading() -> Loading:
    return Loading(asyncio.get_running_loop())


async def test_the_warm_up_does_not_count_in_the_time_to_start(loading: Loading) -> None:
    loading.receive(Initialized())
    outcome = asyncio.ensure_future(loading.outcome(0.0, LONG))
    await asyncio.sleep(0)
    assert not outcome.done()
    loading.receive(READY)
    assert await outcome == READY


@pytest.mark.parametrize(
    ("come", "said"),
    [
        ((), r"did not load the model in 0 s \(startupTimeout\)"),
        ((Initialized(),), r"did not warm it up in 0 s \(warmUpTimeout; warmUp: false in"),
    ],
)
async def test_what_takes_too_long_is_named(loading: Loading, come: tuple[Initialized, ...], said: str) -> None:
    for message in come:
        loading.receive(message)
    outcome = await loading.outcome(0.0, 0.0)
    assert re.search(said, str(outcome))


async def test_a_handler_that_is_left_as_it_is_needs_no_warm_up(loading: Loading) -> None:
    loading.receive(READY)
    assert await loading.outcome(LONG, LONG) == READY


async def test_a_process_that_ends_has_its_own_word_first(loading: Loading) -> None:
    loading.receive(Initialized())
    loading.end(Loaded(500, "died"))
    loading.end(READY)
    assert await loading.outcome(LONG, LONG) == Loaded(500, "died")


async def test_notes_are_those_that_were_told_last(loading: Loading) -> None:
    with pytest.raises(WorkerProtocolError, match="Notes ahead of Loaded"):
        loading.receive(Notes({"speed": "early"}))
    loading.receive(Loaded(200, "", notes={"speed": "as loaded"}))
    assert loading.notes == {"speed": "as loaded"}
    loading.receive(Notes({"freeze": "frozen"}))
    assert loading.notes == {"freeze": "frozen"}


@pytest.mark.parametrize("told", [(Initialized(), Initialized()), (READY, READY), (READY, Initialized())])
async def test_what_is_out_of_order_breaks_the_protocol(
    loading: Loading, told: tuple[Initialized | Loaded, ...]
) -> None:
    loading.receive(told[0])
    with pytest.raises(WorkerProtocolError, match=f"a second {type(told[1]).__name__}, or one behind"):
        loading.receive(told[1])
