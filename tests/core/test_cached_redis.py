"""A cache behind which is a Redis that other servers use, too: requests wait for it together, and never for long."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from torchserve.core.archive.manifest import Manifest
from torchserve.core.archive.reader import Archive
from torchserve.core.archive.store import Located
from torchserve.core.config.model_options import ModelOptions
from torchserve.core.config.settings import Settings
from torchserve.core.config.value_parsers import redis_url
from torchserve.core.errors import QueueFull
from torchserve.core.gpus.gpu_allocator import GpuAllocator
from torchserve.core.metrics.store import MetricStore
from torchserve.core.models.model_spec import ModelSpec, SharedParts, shared_answers
from torchserve.core.models.shared_answers import SharedAnswers
from torchserve.core.models.worker_ids import WorkerIds
from torchserve.core.payload import Reply

from .doubles import in_virtual_time
from .fake_redis import FakeRedis, store
from .test_cached_requests import Cached, bare, settle, told


def cached(redis: FakeRedis, **options: int) -> Cached:
    """A server of its own with the model that all of them serve."""
    subject = Cached(**options)
    assert subject.model.cache is not None
    subject.model.cache.shared = SharedAnswers(store(redis), b"m")
    return subject


@in_virtual_time
async def test_what_one_server_computes_another_gives_as_a_hit_and_keeps_itself() -> None:
    redis = FakeRedis()
    one, other = cached(redis), cached(redis)
    first = one.ask()
    await one.answer(bare())
    assert told(first) == (b"a", "miss")
    sinks = [other.ask() for _ in range(3)]
    await settle()
    assert [told(sink) for sink in sinks] == [(b"a", "hit"), (b"a", "shared"), (b"a", "shared")]
    asked = redis.commands
    again = other.ask()
    assert await other.idle()
    assert told(again) == (b"a", "hit")
    assert redis.commands == asked
    assert other.results == {"hit": 2, "shared": 2}
    assert dict(again.outcome.headers)["ETag"] == dict(first.outcome.headers)["ETag"]


@in_virtual_time
async def test_another_clients_answer_is_never_given() -> None:
    redis = FakeRedis()
    one, other = cached(redis), cached(redis)
    one.ask(authorization="Bearer a")
    await one.answer(bare(b"a's"))
    sink = other.ask(authorization="Bearer b")
    await other.answer(bare(b"b's"))
    assert told(sink) == (b"b's", "miss")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"x", headers=(("Set-Cookie", "me"),)),
        Reply(b"x", headers=(("Cache-Control", "private"),)),
        Reply(b"x", status=503),
    ],
)
def test_what_is_not_kept_here_is_kept_nowhere(reply: Reply) -> None:
    @in_virtual_time
    async def main() -> None:
        redis = FakeRedis()
        subject = cached(redis)
        subject.ask()
        await subject.answer(reply)
        assert [key for key in redis.kept if b":answer:" in key] == []

    main()


@in_virtual_time
async def test_one_that_hangs_delays_a_request_by_its_deadline_and_takes_that_off_the_requests_own() -> None:
    redis = FakeRedis()
    redis.hangs = True
    subject = cached(redis)
    sink, other = subject.ask(timeout=1.0), subject.ask()
    await asyncio.sleep(0.1)
    assert subject.results == {"miss": 1, "shared": 1} or subject.results == {"miss": 2}
    await subject.answer(bare())
    assert told(sink) == (b"a", "miss")
    if not other.heard:
        await subject.answer(bare())
    assert other.heard


@in_virtual_time
async def test_when_all_have_left_meanwhile_nothing_is_computed() -> None:
    redis = FakeRedis()
    subject = cached(redis)
    subject.ask()
    subject.ask()
    for ticket in subject.tickets:
        ticket.cancel()
    assert await subject.idle()
    assert (subject.waiting(), subject.plane._pending.held, subject.results) == (0, 0, {"shared": 1})


@in_virtual_time
async def test_a_refusal_that_comes_after_the_look_is_told() -> None:
    redis = FakeRedis()
    subject = cached(redis, queue=1)
    bodies = [subject.ask(body) for body in (b"1", b"2", b"3")]
    await settle()
    (refused,) = [sink for sink in bodies if sink.heard]
    assert isinstance(refused.outcome, QueueFull)


@in_virtual_time
async def test_a_purge_and_no_cache_reach_it() -> None:
    redis = FakeRedis()
    one, other = cached(redis), cached(redis)
    one.ask()
    await one.answer(bare(b"old"))
    again = one.ask(cache_control="no-cache")
    await one.answer(bare(b"new"))
    assert told(again) == (b"new", "miss")
    sink = other.ask()
    await settle()
    assert told(sink) == (b"new", "hit")
    assert one.model.cache is not None
    one.model.cache.purge()
    await settle()
    third = cached(redis)
    sink = third.ask()
    await third.answer(bare(b"newest"))
    assert told(sink) == (b"newest", "miss")


def subject_of(**changes: object) -> bytes | None:
    """What the answers of a model are kept under; `envelope` is a setting, all else the model's."""
    envelope = str(changes.pop("envelope", "")) or None
    spec = replace(
        ModelSpec(
            name="m",
            version="1.0",
            located=Located("m.mar", Path("m.mar"), "m.mar"),
            archive=Archive(Path("m.mar"), Manifest(), Path("/nowhere"), None, None),
            handler="handler.py",
            runtime="python",
            options=ModelOptions(),
            content=b"hash",
        ),
        **changes,
    )
    parts = SharedParts(
        Settings(service_envelope=envelope), GpuAllocator(0), WorkerIds(9000), MetricStore(), store=store(FakeRedis())
    )
    answers = shared_answers(spec, parts)
    return None if answers is None else answers._subject


def test_models_that_may_answer_otherwise_share_nothing() -> None:
    assert subject_of() == subject_of(options=ModelOptions(max_workers=3))
    changes = [{"name": "n"}, {"version": "2.0"}, {"handler": "other.py"}, {"content": b"other"}, {"envelope": "json"}]
    assert len({subject_of(), *(subject_of(**each) for each in changes)}) == 1 + len(changes)
    assert subject_of(content=b"") is None, "what is served from a folder"


@pytest.mark.parametrize("url", ["http://host", "host:6379", ""])
def test_an_address_that_is_no_redis_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must begin with redis://"):
        redis_url(url)
