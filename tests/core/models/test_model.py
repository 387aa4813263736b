"""A model version: refusals that name the true reason, and its end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from torchserve.core.config.settings import Settings
from torchserve.core.errors import Draining, NoTicket, NoWorker, QueueFull, RequestExpired
from torchserve.core.models.model import Model
from torchserve.core.payload import Part, Payload, Reply
from torchserve.core.workers.pool import SlotState
from torchserve.scheduler.job import Batch

from ..doubles import Answering, Sink, model, slot


class Holding:
    """A scheduler's runner that keeps its batch; `began` is set once it has one."""

    name = "runner"
    device = "cpu"

    def __init__(self) -> None:
        self.began = asyncio.Event()

    def run(self, batch: Batch) -> None:
        self.batch = batch
        self.began.set()

    def batch_started(self, batch: Batch) -> None:
        """It is never given a second one."""


PAYLOAD = Payload("id", (Part("body", "", b"x"),))


def submit(to: Model, payload: Payload = PAYLOAD, **options: Any) -> Sink:
    sink = Sink()
    to.submit(payload, sink, named_version=False, **options)
    return sink


@pytest.mark.parametrize(
    ("named", "text"),
    [
        (False, 'Model "m" has no worker to serve inference request. Please use scale workers API to add workers.'),
        (True, 'Model "m" Version 1.0" has no worker to serve inference request. Please use scale workers API to add workers.'),
    ],
)  # fmt: skip
async def test_without_workers_in_torchserves_words(named: bool, text: str) -> None:
    with pytest.raises(NoWorker) as caught:
        model().submit(PAYLOAD, Sink(), named_version=named)
    assert caught.value.message == text


async def test_workers_that_were_given_up_tell_their_last_error() -> None:
    subject = model()
    subject.pool.slots += [
        slot(9000, SlotState.GIVEN_UP, last_error="old"),
        slot(9001, SlotState.GIVEN_UP, last_error="weights are missing"),
        slot(9002, SlotState.STOPPING),
    ]
    with pytest.raises(NoWorker, match=r"Its workers were given up; the last error: weights are missing$") as caught:
        submit(subject)
    assert caught.value.retry_after is None, "that does not pass by itself"


async def test_with_job_tickets_a_request_is_taken_only_while_a_worker_is_free() -> None:
    subject = model(job_ticket=True, batch_size=4)
    subject.pool.slots.append(slot())
    with pytest.raises(NoTicket):  # its worker loads yet: nobody is there
        submit(subject)
    workers = [Holding(), Holding()]
    for number, worker in enumerate(workers, start=1):
        subject.scheduler.attach(worker)
        sinks = [submit(subject)]
        with pytest.raises(
            NoTicket, match=f"^Model .* add workers. {number} are there and none is free, and this model"
        ):
            submit(subject)
        await worker.began.wait()
        with pytest.raises(NoTicket) as caught:
            submit(subject)
        assert caught.value.retry_after is not None
    subject.scheduler.finish(workers[1].batch, [Reply(b"x")])
    assert sinks[0].heard == [("done", Reply(b"x"))]
    submit(subject)


@pytest.mark.parametrize("state", [SlotState.LOADING, SlotState.READY, SlotState.WAITING])
async def test_a_request_waits_for_a_worker_that_may_come(state: SlotState) -> None:
    subject = model()
    subject.pool.slots.append(slot(state=state))
    sink = submit(subject)
    assert (subject.scheduler.queued, sink.heard) == (1, [])
    worker = Answering(subject.scheduler, lambda payload: Reply(payload.parts[0].body))
    await sink.told.wait()
    assert sink.heard == [("done", Reply(b"x"))]
    assert worker.batches == [[PAYLOAD]]


async def test_options_reach_the_lane_in_seconds() -> None:
    policy = model(batch_size=4, max_batch_delay=250, job_queue_size=7).scheduler.policy
    assert (policy.batch_size, policy.max_batch_delay, policy.queue_size) == (4, 0.25, 7)


async def test_a_full_queue_says_so_with_its_size() -> None:
    subject = model(job_queue_size=2)
    subject.pool.slots.append(slot())
    for _ in range(2):
        submit(subject)
    with pytest.raises(QueueFull, match=r'^Model "m" version 1\.0 .* 2 requests wait \(job_queue_size=2\)\.'):
        submit(subject)
    assert subject.scheduler.queued == 2


@pytest.mark.parametrize(
    ("seconds", "workers", "asked"), [(0.001, 1, 1.0), (2.0, 1, 8.0), (2.0, 2, 4.0), (60.0, 1, 30.0)]
)
async def test_a_full_queue_asks_to_wait_until_it_is_served_and_no_longer_than_half_a_minute(
    seconds: float, workers: int, asked: float
) -> None:
    subject = model(job_queue_size=4)
    subject.pool.slots.append(slot())
    holding = [Holding() for _ in range(workers)]
    subject.scheduler.attach(holding[0])
    submit(subject)
    await holding[0].began.wait()
    subject.scheduler.finish(holding[0].batch, [Reply(b"x")], seconds=seconds)
    for worker in holding[1:]:
        subject.scheduler.attach(worker)
    while subject.scheduler.queued < 4:
        submit(subject)
        await asyncio.sleep(0)
    with pytest.raises(QueueFull) as caught:
        submit(subject)
    assert caught.value.retry_after == pytest.approx(asked)


async def test_a_queue_of_which_nothing_is_known_asks_for_a_second() -> None:
    subject = model(job_queue_size=1)
    subject.pool.slots.append(slot())
    submit(subject)
    with pytest.raises(QueueFull) as caught:
        submit(subject)
    assert caught.value.retry_after == 1.0


async def test_a_request_that_waits_too_long_is_told_how_long() -> None:
    subject = model(client_timeout=1)
    subject.pool.slots.append(slot())
    sink = submit(subject)
    await asyncio.wait_for(sink.told.wait(), 60)
    error = sink.outcome
    assert isinstance(error, RequestExpired)
    assert error.message.startswith('Model "m" version 1.0 did not come to this request in time: it waited ')
    assert error.message.endswith(" ms in the queue (clientTimeoutInMills=1).")


async def test_without_a_client_timeout_nothing_expires() -> None:
    subject = model(client_timeout=0)
    subject.pool.slots.append(slot())
    job = subject.submit(PAYLOAD, Sink(), named_version=False)
    assert job.expires is None


async def test_an_exclusive_request_has_its_own_batch() -> None:
    subject = model(batch_size=4)
    subject.pool.slots.append(slot())
    sinks = [submit(subject, exclusive=exclusive) for exclusive in (False, True, False)]
    worker = Answering(subject.scheduler, lambda payload: Reply(b""))
    await asyncio.gather(*(sink.told.wait() for sink in sinks))
    assert list(map(len, worker.batches)) == [1, 1, 1]


async def test_when_the_last_worker_is_given_up_those_who_wait_are_told() -> None:
    subject = model()
    given_up = slot(last_error="no GPU")
    subject.pool.slots.append(given_up)
    sinks = [submit(subject) for _ in range(3)]
    subject.pool._give_up(given_up)
    for sink in sinks:
        assert isinstance(sink.outcome, NoWorker)
        assert sink.outcome.message.endswith("the last error: no GPU")
    assert subject.scheduler.queued == 0


@pytest.mark.parametrize(
    ("minimum", "states", "failed"),
    [
        (0, [], False),
        (1, [], True),
        (1, [SlotState.LOADING], False),
        (2, [SlotState.READY], True),
        (2, [SlotState.READY, SlotState.WAITING], False),
        (2, [SlotState.READY, SlotState.GIVEN_UP], True),
        (1, [SlotState.STOPPING], True),
    ],
)
async def test_when_a_model_counts_as_failed(minimum: int, states: list[SlotState], failed: bool) -> None:
    subject = model()
    subject.pool.minimum = minimum
    subject.pool.slots += [slot(9000 + i, state) for i, state in enumerate(states)]
    assert subject.failed is failed


# ---- the end


async def test_a_drain_serves_what_is_queued_and_refuses_what_comes() -> None:
    subject = model(batch_size=1)
    waiting = slot(state=SlotState.WAITING)
    waiting.task = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
    subject.pool.slots.append(waiting)
    sinks = [submit(subject) for _ in range(3)]
    Answering(subject.scheduler, lambda payload: Reply(b"served"))
    drain = asyncio.create_task(subject.drain(30.0))
    await asyncio.sleep(0)
    with pytest.raises(Draining, match="is being removed and takes no new request"):
        submit(subject)
    await drain
    assert [sink.outcome.body for sink in sinks] == [b"served"] * 3
    assert (subject.pool.slots, waiting.task.cancelled()) == ([], True)


async def test_what_a_drain_has_no_time_for_is_told() -> None:
    subject = model()
    waiting = slot(state=SlotState.WAITING)
    waiting.task = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
    subject.pool.slots.append(waiting)
    sink = submit(subject)
    await subject.drain(0.0)
    assert isinstance(sink.outcome, Draining)
    assert sink.outcome.message == 'Model "m" version 1.0 was removed before it came to this request.'


async def test_a_drain_without_hope_does_not_wait() -> None:
    subject = model()
    lost = slot()
    subject.pool.slots.append(lost)
    sink = submit(subject)
    lost.state = SlotState.GIVEN_UP
    lost.task = asyncio.create_task(asyncio.sleep(0))
    await asyncio.wait_for(subject.drain(3600.0), 60)
    assert isinstance(sink.outcome, Draining)


async def test_what_the_backend_is_told() -> None:
    settings = Settings(
        number_of_gpu=0, service_envelope="json", limit_max_image_pixels=False, decode_input_request=False,
        max_response_size=77,
    )  # fmt: skip
    load = model("cat", "2.0", settings=settings, batch_size=3).pool._launcher.load
    assert (load.model_name, load.model_version, load.model_dir, load.handler, load.batch_size) == (
        "cat", "2.0", "/nowhere", "handler.py", 3,
    )  # fmt: skip
    assert (load.envelope, load.limit_max_image_pixels, load.decode_input_request, load.max_response_size) == (
        "json", False, False, 77,
    )  # fmt: skip
