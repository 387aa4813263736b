"""Shared memory over REST: regions by name, tensors in and out of them, and that nothing is left open."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from torchserve.core.oip.infer_answer import InferAnswer, reply_of
from torchserve.core.oip.infer_request import Tensor
from torchserve.core.oip.region_tensors import STEP
from torchserve.core.payload import Payload, Reply
from torchserve.http.message.limits import Limits

from ..doubles import SOON, FakeDataPlane, Sink, post, until
from .region_client import INFER, SHM, client, doubles, held, there, x


async def test_regions_are_registered_shown_and_forgotten(key: str) -> None:
    async with client() as made:
        assert await made.ask("GET", "/v2/systemsharedmemory/status") == (200, [])
        assert await made.register("r", f"/{key}", 32, 16) == (200, {})
        shown = {"name": "r", "key": f"/{key}", "offset": 16, "byte_size": 32}
        assert await made.ask("GET", "/v2/systemsharedmemory/status") == (200, [shown])
        assert await made.ask("GET", "/v2/systemsharedmemory/region/r/status") == (200, [shown])
        status, told = await made.ask("GET", "/v2/systemsharedmemory/region/other/status")
        assert (status, told) == (404, {"error": "No shared memory region 'other' is registered."})
        assert (await made.register("r", key))[0] == 409
        assert held(key) == 1
        assert await made.ask("POST", "/v2/systemsharedmemory/region/r/unregister") == (200, {})
        assert await made.register("again", key) == (200, {})
        assert await made.ask("POST", "/v2/systemsharedmemory/unregister") == (200, {})
        assert held(key) == 0
        assert "system_shared_memory" in (await made.ask("GET", "/v2"))[1]["extensions"]


async def test_tensors_go_in_and_out(key: str) -> None:
    data = FakeDataPlane(behave=doubles)
    async with client(data) as made:
        await made.register("r", key)
        status, told = await made.infer(x("r", 4, 8), outputs=[{"name": "y", "parameters": there("r", 16, 32)}])
        assert (status, told["outputs"]) == (
            200, [{"name": "y", "datatype": "UINT8", "shape": [4], "parameters": there("r", 4, 32)}],
        )  # fmt: skip
    assert (SHM / key).read_bytes()[32:37] == bytes([8, 9, 10, 11, 36])
    assert bytes(data.payloads[0].parts[0].body) == bytes([8, 9, 10, 11])
    assert data.payloads[0].infer is not None
    assert data.payloads[0].infer.outputs[0].binary
    assert held(key) == 0  # the front has stopped


async def test_several_requests_on_a_connection_and_of_a_version(key: str) -> None:
    async with client(FakeDataPlane(behave=doubles)) as made:
        await made.register("r", key)
        for offset in (0, 8, 16):
            said = {"inputs": [x("r", 2, offset)], "outputs": [{"name": "y", "parameters": there("r", 2, 40 + offset)}]}
            assert (await made.ask("POST", "/v2/models/m/versions/1.0/infer", said))[0] == 200
        assert (SHM / key).read_bytes()[40:58:8] == bytes([0, 8, 16])


async def test_a_large_tensor_is_read_and_written_in_turns(key: str) -> None:
    size = 2 * STEP + 8
    (SHM / key).write_bytes(os.urandom(size) + bytes(size))
    room = memoryview(bytearray(size))
    data = FakeDataPlane(behave=doubles, rooms=[room])
    async with client(data, Limits(max_request_size=2 * size)) as made:
        await made.register("r", key, 2 * size)
        status, _ = await made.infer(x("r", size), outputs=[{"name": "y", "parameters": there("r", size, size)}])
        assert status == 200
        assert data.payloads[0].parts[0].body is room
        assert data.held == 0
    found = (SHM / key).read_bytes()
    assert found[:size] == found[size:]


async def test_an_input_counts_as_bytes_of_its_request_and_of_all(key: str) -> None:
    data = FakeDataPlane(behave=doubles, most=40)
    async with client(data, Limits(max_request_size=300)) as made:
        await made.register("r", key)
        (SHM / key).write_bytes(bytes(1000))
        await made.register("large", key, 1000)
        status, told = await made.infer(x("large", 1000))
        assert status == 413
        assert (
            "bytes and 1000 in shared memory, and at most 300 are accepted in all (max_request_size)" in told["message"]
        )
        status, told = await made.infer(x("r", 50))
        assert (status, told["message"]) == (503, "more than 40 (max_pending_bytes)")
        assert (await made.infer(x("r", 40)))[0] == 200
        assert data.held == 0


BAD: list[tuple[Callable[[str], dict[str, Any]], int, str]] = [
    (lambda _: x("other", 4), 400, "Input 'x': no shared memory region 'other' is registered"),
    (lambda _: x("r", 4, 62), 400, "takes the bytes 62 to 66 of shared memory region 'r', which has 64"),
    (lambda _: x("r", 65), 400, "takes the bytes 0 to 65"),
    (lambda _: x("r", 4, -4), 400, "shared_memory_offset must be a number of bytes"),
    (lambda _: x("r", 4, 2**63), 400, "shared_memory_offset must be a number of bytes"),
    (lambda _: x("r", 4) | {"shape": [5]}, 400, "has the shape [5] of UINT8, which takes 5 bytes, and 4 were sent"),
    (lambda _: x("r", 4) | {"datatype": "UINT9"}, 400, "has the datatype 'UINT9'"),
    (lambda _: x("r", 4) | {"data": [1, 2, 3, 4]}, 400, "both data and the parameter shared_memory_region"),
    (lambda key: os.truncate(SHM / key, 3) or x("r", 4), 400, "has lost its end: 4 bytes of"),
]


@pytest.mark.parametrize(("wrong", "status", "told"), BAD)
async def test_what_is_wrong_is_told_and_the_front_goes_on(
    key: str, wrong: Callable[[str], dict[str, Any]], status: int, told: str
) -> None:
    async with client(FakeDataPlane(behave=doubles)) as made:
        await made.register("r", key)
        found, answer = await made.infer(wrong(key))
        assert (found, told in answer["error"]) == (status, True), answer
        assert answer["message"] == answer["error"]
        assert (await made.infer({"name": "x", "datatype": "UINT8", "shape": [1], "data": [1]}))[0] == 200
        assert await made.ask("POST", "/v2/systemsharedmemory/unregister") == (200, {})
        assert held(key) == 0


BODIES: list[tuple[Any, int, str]] = [
    (b"", 400, "needs key"), (b"[]", 400, "must be an object"), (b"{", 400, "Malformed JSON"), ({"key": 7}, 400, "needs key"),
    ({"key": "k"}, 400, "needs byte_size, a number of bytes, not 'None'"),
    ({"key": "k", "byte_size": "9"}, 400, "needs byte_size, a number of bytes, not '9'"),
    ({"key": "k", "byte_size": True}, 400, "needs byte_size"), ({"key": "k", "byte_size": 1.5}, 400, "needs byte_size"),
    ({"key": "k", "byte_size": 1, "offset": None}, 400, "needs offset"),
    ({"key": "../k", "byte_size": 1}, 400, "is no name of POSIX shared memory"),
    ({"key": "torchserve-nothing", "byte_size": 1}, 404, "there is no shared memory 'torchserve-nothing'"),
    (b'{"key": "\\ud800", "byte_size": 1}', 400, "Malformed JSON"), ({"key": "k" * 70_000}, 413, "at most 65536"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "told"), BODIES)
async def test_a_registration_that_makes_no_sense_is_refused(body: Any, status: int, told: str) -> None:
    async with client() as made:
        found, answer = await made.ask("POST", "/v2/systemsharedmemory/region/r/register", body)
        assert (found, told in answer["error"]) == (status, True), answer


async def test_an_output_that_is_too_large_is_refused_with_both_sizes(key: str) -> None:
    async with client(FakeDataPlane(behave=doubles)) as made:
        await made.register("r", key)
        status, told = await made.infer(x("r", 8), outputs=[{"name": "y", "parameters": there("r", 7)}])
        assert status == 400
        assert "Output 'y' has 8 bytes, and the request gives it 7 of shared memory region 'r'" in told["error"]
        assert (SHM / key).read_bytes() == bytes(range(64))


async def test_a_region_that_is_forgotten_while_a_request_runs_is_the_request_s_until_its_end(key: str) -> None:
    waiting: list[tuple[Payload, Sink]] = []
    data = FakeDataPlane(behave=lambda payload, sink: waiting.append((payload, sink)))
    async with client(data) as made:
        await made.register("r", key)
        asking = asyncio.ensure_future(made.infer(x("r", 4, 8), outputs=[{"name": "y", "parameters": there("r", 4)}]))
        await until(lambda: waiting)
        assert (await made.ask("POST", "/v2/systemsharedmemory/region/r/unregister"))[0] == 200
        (SHM / key).rename(SHM / f"{key}-moved")
        assert (await made.infer(x("r", 4)))[0] == 400
        assert held(key) == 1
        doubles(*waiting[0])
        assert (await asking)[0] == 200
        await until(lambda: held(key) == 0)
    moved = SHM / f"{key}-moved"
    assert moved.read_bytes()[:5] == bytes([8, 9, 10, 11, 4])
    moved.unlink()


async def test_a_client_that_leaves_while_a_thread_writes_leaves_nothing_open(key: str) -> None:
    size = STEP + 8
    (SHM / key).write_bytes(bytes(size))
    waiting: list[Sink] = []
    data = FakeDataPlane(behave=lambda _payload, sink: waiting.append(sink))
    free = threading.Event()
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as threads:
        loop.set_default_executor(threads)
        async with client(data, Limits(max_request_size=10 * size)) as made:
            await made.register("r", key, size)
            asked = x("r", 4), [{"name": "y", "parameters": there("r", size)}]
            asking = asyncio.ensure_future(made.infer(asked[0], outputs=asked[1]))
            await until(lambda: waiting)
            busy = loop.run_in_executor(None, free.wait, SOON)
            waiting[0].done(reply_of(InferAnswer("m", "1.0", "", (Tensor("y", "UINT8", (size,), b"y" * size),))))
            assert (await made.ask("POST", "/v2/systemsharedmemory/unregister"))[0] == 200
            asking.cancel()
            await until(lambda: 499 in made.front.metrics.statuses)
            assert held(key) == 1  # the thread has yet to write
            free.set()
            await busy
            await until(lambda: held(key) == 0)
    assert (SHM / key).read_bytes() == b"y" * size


async def test_a_streamed_answer_can_t_go_to_shared_memory(key: str) -> None:
    def stream(_payload: Payload, sink: Sink) -> None:
        sink.chunk(Reply(b"piece"))
        sink.done(Reply(b"last"))

    async with client(FakeDataPlane(behave=stream)) as made:
        await made.register("r", key)
        status, told = await made.infer(x("r", 4), outputs=[{"name": "y", "parameters": there("r", 4)}])
        assert (status, told["error"]) == (
            500,
            "A handler that streams its answer can't write outputs to shared memory.",
        )


async def test_a_long_document_with_tensors_in_shared_memory_is_refused_by_the_worker(key: str) -> None:
    from torchserve.core.backend.infer_inputs import read_whole
    from torchserve.core.errors import BadRequest

    said = {"inputs": [x("r", 4), {"name": "z", "datatype": "UINT8", "shape": [600_000], "data": [1] * 600_000}]}
    data = FakeDataPlane()
    async with client(data) as made:
        await made.register("r", key)
        await made.front.say(
            post(INFER, json.dumps(said).encode(), "Content-Type: application/json", "Connection: close")
        )
    payload = data.payloads[0]
    assert payload.infer is not None
    assert payload.infer.whole
    with pytest.raises(BadRequest, match="Input 'x' is in shared memory, and the values of others make the JSON"):
        read_whole(payload.parts[0].body, None, "m")
