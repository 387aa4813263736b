"""Answers that several servers keep in a Redis: a Redis that lies, is slow or is gone costs no more than a miss."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from torchserve.core.models.answer_store import LARGEST, MOST, AnswerStore
from torchserve.core.models.circuit_breaker import FAILURES
from torchserve.core.models.shared_answers import SharedAnswers
from torchserve.core.payload import Reply

from ..doubles import in_virtual_time
from ..fake_redis import FakeRedis, store

ANSWER = Reply(b"cat", content_type="text/plain", headers=(("ETag", 'W/"1"'), ("X-Mine", "é")))


async def found(answers: SharedAnswers, key: bytes = b"k") -> Reply | None:
    told: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
    answers.look_up(key, lambda reply, left: told.set_result(reply))
    return await told


async def keep(answers: SharedAnswers, reply: Reply = ANSWER, key: bytes = b"k", epoch: bytes | None = None) -> None:
    answers.keep(key, reply, 60.0, answers.epoch if epoch is None else epoch)
    await asyncio.gather(*answers._tasks)


@in_virtual_time
async def test_what_one_server_keeps_another_finds() -> None:
    redis = FakeRedis()
    one, other = SharedAnswers(store(redis), b"m"), SharedAnswers(store(redis), b"m")
    assert await found(one) is None
    await keep(one)
    assert await found(other) == ANSWER
    assert (one.results["miss"], other.results["hit"]) == (1, 1)
    assert await found(SharedAnswers(store(redis), b"another version")) is None
    assert await found(one, b"another key") is None


@in_virtual_time
async def test_an_answer_is_never_given_for_another_question() -> None:
    """Whatever lies under a key: each answer says what it is for, and from when."""
    redis = FakeRedis()
    answers = SharedAnswers(store(redis), b"m")
    await found(answers)
    await keep(answers)
    (place,) = [key for key in redis.kept if b":answer:" in key]
    good = redis.kept[place]
    fields = msgspec.msgpack.decode(good)
    for number, wrong in [(0, b"another model"), (1, b"another key"), (2, b"another epoch"), (3, 0.0)]:
        redis.kept[place] = msgspec.msgpack.encode([*fields[:number], wrong, *fields[number + 1 :]])
        assert await found(answers) is None, number
    for wrong in (
        b"",
        b"\xc1",
        good[:-1],
        good + b"x",
        msgspec.msgpack.encode({"body": b"x"}),
        msgspec.msgpack.encode(1),
    ):
        redis.kept[place] = wrong
        assert await found(answers) is None, wrong
    redis.kept[place] = good
    assert await found(answers) == ANSWER


@in_virtual_time
async def test_values_are_bounded_when_they_are_kept_and_when_they_are_read() -> None:
    redis = FakeRedis()
    answers = SharedAnswers(store(redis), b"m")
    await found(answers)
    await keep(answers, Reply(bytes(LARGEST)))
    await keep(answers, Reply(b"", headers=(("X", "x" * LARGEST),)))
    assert [key for key in redis.kept if b":answer:" in key] == []
    await keep(answers)
    (place,) = [key for key in redis.kept if b":answer:" in key]
    redis.kept[place] += bytes(2 * LARGEST)
    assert await found(answers) is None


@in_virtual_time
async def test_a_purge_reaches_all_servers_and_what_computed_then() -> None:
    redis = FakeRedis()
    one, other = SharedAnswers(store(redis), b"m"), SharedAnswers(store(redis), b"m")
    await found(one)
    await found(other)
    began = other.epoch
    await keep(one)
    one.purge()
    await asyncio.gather(*one._tasks)
    assert await found(other) is None
    assert await found(one) is None
    await keep(other, epoch=began)  # its computation began before the purge
    assert await found(one) is None
    await keep(other)
    assert await found(one) == ANSWER


@in_virtual_time
async def test_nothing_from_before_a_purge_is_read_while_the_store_has_not_heard_of_it() -> None:
    redis = FakeRedis()
    answers = SharedAnswers(store(redis), b"m")
    await found(answers)
    await keep(answers)
    redis.error = OSError("gone")
    answers.purge()
    await asyncio.gather(*answers._tasks)
    assert answers.epoch == b"", "nothing is kept meanwhile"
    redis.error = None
    assert await found(answers) is None, "it begins with the purge"
    assert answers.results == {"hit": 0, "miss": 2, "none": 0}


@in_virtual_time
async def test_a_store_that_has_lost_its_epochs_has_lost_its_answers() -> None:
    redis = FakeRedis()
    answers = SharedAnswers(store(redis), b"m")
    await found(answers)
    await keep(answers)
    for key in [key for key in redis.kept if b":epoch:" in key]:
        del redis.kept[key]
    assert await found(answers) is None
    assert await found(answers) is None


@in_virtual_time
async def test_one_that_hangs_costs_a_few_requests_the_deadline_and_the_others_nothing() -> None:
    redis = FakeRedis()
    redis.hangs = True
    subject = store(redis)
    answers, loop = SharedAnswers(subject, b"m"), asyncio.get_running_loop()
    began = loop.time()
    for _ in range(FAILURES):
        assert await found(answers) is None
    assert loop.time() - began == pytest.approx(FAILURES * 0.05)
    assert not answers.may_ask
    for _ in range(20):
        assert await found(answers) is None
    assert loop.time() - began == pytest.approx(FAILURES * 0.05)
    assert subject.outcomes == {"ok": 0, "late": FAILURES, "error": 0, "skipped": 20}
    assert redis.commands == FAILURES
    assert answers.results["none"] == FAILURES + 20


@in_virtual_time
async def test_no_more_commands_are_under_way_than_may_be() -> None:
    redis = FakeRedis()
    redis.hangs = True
    subject = store(redis)
    answers = SharedAnswers(subject, b"m")
    await asyncio.gather(*[found(answers, bytes([number])) for number in range(MOST + 10)])
    assert redis.commands == MOST
    assert subject.outcomes["skipped"] == 10


@pytest.mark.parametrize("error", [OSError("refused"), ValueError("a reply that is none"), RuntimeError("a bug")])
def test_whatever_the_client_raises_is_a_miss(error: Exception) -> None:
    @in_virtual_time
    async def main() -> None:
        redis = FakeRedis()
        redis.error = error
        subject = store(redis)
        assert await found(SharedAnswers(subject, b"m")) is None
        assert subject.outcomes["error"] == 1
        await subject.close()

    main()


# ---- a real one


SERVER = shutil.which("redis-server")


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    if SERVER is None:
        pytest.skip("no redis-server")
    pytest.importorskip("redis")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "redis")
        command = [SERVER, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process, process.stdout as lines:
            assert any(b"ready to accept" in line.lower() for line in iter(lines.readline, b""))
            yield path
            process.terminate()


@asynccontextmanager
async def real(socket: Path, timeout: float = 30.0) -> AsyncIterator[AnswerStore]:
    subject = AnswerStore(f"unix://{socket}", timeout)
    yield subject
    await subject.close()


async def raw(socket: Path, *words: str) -> bytes:
    """Say a command to the server beside the store."""
    reader, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(" ".join(words).encode() + b"\r\n")
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return line


async def test_a_real_redis_keeps_an_answer_for_its_time_and_forgets_it_by_a_purge(socket: Path) -> None:
    async with real(socket) as one, real(socket) as other:
        first, second = SharedAnswers(one, b"real"), SharedAnswers(other, b"real")
        assert await found(first) is None
        await keep(first)
        assert await found(second) == ANSWER
        left = [int((await raw(socket, "PTTL", key.decode()))[1:]) for key in [second._place(b"k")]]
        assert 0 < left[0] <= 60_000
        second.purge()
        await asyncio.gather(*second._tasks)
        assert await found(first) is None


async def test_a_real_redis_that_stops_answering_is_a_miss_and_is_asked_again_once_it_is_well(socket: Path) -> None:
    async with real(socket, timeout=0.05) as subject:
        answers = SharedAnswers(subject, b"slow")
        await found(answers)
        await raw(socket, "CLIENT", "PAUSE", "400", "ALL")
        for _ in range(FAILURES):
            assert await found(answers) is None
        assert subject.outcomes["late"] >= FAILURES
        assert not subject.well
        while not subject.well:  # it is tried again by itself, as requests come
            await asyncio.sleep(0.05)
            await found(answers)
        await keep(answers)


async def test_a_real_redis_that_is_gone_is_a_miss(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    async with real(tmp_path / "nothing") as subject:
        assert await found(SharedAnswers(subject, b"gone")) is None
        assert subject.outcomes["error"] == 1
