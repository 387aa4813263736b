"""A call whose message has come with its head is answered as one whose message comes later; large ones don't hold the loop."""

from __future__ import annotations

import asyncio
import gzip
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.errors import ClientLimited, HandlerFailed
from torchserve.core.payload import Payload, Reply
from torchserve.http.message.limits import Limits
from torchserve.http.rpc import framing
from torchserve.http.rpc.framing import Squeezed
from torchserve.http.rpc.plain_call import PlainCall
from torchserve.http.rpc.protos.messages import message
from torchserve.http.rpc.status import Code

from ..doubles import FakeDataPlane, Sink, until
from .doubles import PREDICTIONS, SEQUENCES, Called, Desk, Request

ONE = Request(model_name="m", input={"data": b"hello"}).SerializeToString()
INFER = "/inference.GRPCInferenceService/ModelInfer"
TENSOR = message("inference.ModelInferRequest")(
    model_name="m", inputs=[{"name": "x", "datatype": "UINT8", "shape": [3]}], raw_input_contents=[b"abc"]
).SerializeToString()
LARGE = random.Random(1).randbytes(200_000)  # more than is decompressed at once
HEALTH = "/grpc.health.v1.Health/Check"


def at_once(payload: Payload, sink: Sink) -> None:
    sink.done(Reply(payload.parts[0].body if payload.parts else b""))


def desk(**options: Any) -> Desk:
    return Desk(FakeDataPlane(behave=at_once), **options)


def framed(data: bytes, *, squeezed: bool = False) -> bytes:
    data = gzip.compress(data, 1) if squeezed else data
    return bytes((squeezed,)) + len(data).to_bytes(4) + data


def large(number: int = 0) -> bytes:
    return Request(model_name="m", input={"data": LARGE + bytes((number,))}).SerializeToString()


def ends(made: Desk, call: Called) -> tuple[Any, ...]:
    answers = [each.prediction for each in call.messages()] if call.stream.body else []
    return call.code, call.text, answers, len(made.log), made.metrics.statuses, made.data.arriving, made.data.held


PIECES = st.sampled_from(
    [framed(ONE), framed(b""), framed(b"\xff"), framed(ONE, squeezed=True), b"\0\0\0\0\5ab", b"\2", b""]
)


@given(st.lists(PIECES, max_size=3), st.sampled_from([PREDICTIONS, SEQUENCES, HEALTH, "/no/method"]), st.booleans())
async def test_a_whole_call_ends_as_one_in_pieces(pieces: list[bytes], path: str, compressed: bool) -> None:
    fields = {"grpc_encoding": "gzip"} if compressed else {}
    body, found = b"".join(pieces), []
    for whole in (True, False):
        made = desk(limits=Limits(max_request_size=1000))
        call = made.whole(body, path, **fields) if whole else made.call(path, **fields).raw(body).end()
        found.append(ends(made, call))
    assert found[0] == found[1]


async def test_a_whole_call_waits_for_nothing() -> None:
    made = desk()
    call = made.whole(framed(ONE))
    assert (call.code, call.stream.taken, call.messages()[0].prediction) == (Code.OK, 0, b"hello")
    assert call.handler._reader is None  # type: ignore[attr-defined]
    assert call.handler.heard == 0  # type: ignore[attr-defined]


async def test_a_key_is_asked_for_before_the_message_is_read() -> None:
    made = desk()
    refused = made.whole(framed(ONE), method="GET")
    assert (refused.code, made.data.payloads) == (Code.INTERNAL, [])


def pieces(sink: Sink, *bodies: bytes) -> None:
    for body in bodies:
        sink.chunk(Reply(body))


OUTCOMES: dict[str, Callable[[Called, Sink], None]] = {
    "an answer": lambda _call, sink: sink.done(Reply(b"answer")),
    "pieces": lambda _call, sink: (pieces(sink, b"one ", b"two "), sink.done(Reply(b"three")))[0],
    "pieces without an end": lambda _call, sink: (pieces(sink, b"one "), sink.done(Reply(b"")))[0],
    "pieces that are too much": lambda _call, sink: (pieces(sink, *[bytes(900)] * 3), sink.done(Reply(b"x")))[0],
    "pieces, and a failure": lambda _call, sink: (pieces(sink, b"one"), sink.fail(HandlerFailed("broken", 500)))[0],
    "a failure": lambda _call, sink: sink.fail(HandlerFailed("broken", 404)),
    "a client that is limited": lambda _call, sink: sink.fail(ClientLimited("slowly", retry_after=2.0)),
    "a success that is an exception": lambda _call, sink: sink.fail(HandlerFailed("", 200)),
    "the same behind a piece": lambda _call, sink: (pieces(sink, b"one"), sink.fail(HandlerFailed("", 200)))[0],
    "no tensors": lambda _call, sink: sink.done(Reply(b"{")),
    "several ends": lambda _call, sink: [sink.done(Reply(b"a")), sink.done(Reply(b"b")), sink.chunk(Reply(b"c"))][0],
    "a client that leaves": lambda call, sink: (call.leave(), sink.done(Reply(b"late")))[0],
    "the same behind a piece's": lambda call, sink: (pieces(sink, b"x"), call.leave(), sink.chunk(Reply(b"y")))[1],
}


@pytest.mark.parametrize("path", [PREDICTIONS, INFER])
@pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES)
async def test_a_whole_call_takes_any_outcome_as_one_in_pieces_does(
    outcome: Callable[[Called, Sink], None], path: str
) -> None:
    found = []
    for whole in (True, False):
        sinks: list[Sink] = []
        made = Desk(
            FakeDataPlane(behave=lambda _, sink, sinks=sinks: sinks.append(sink)), limits=Limits(max_unsent=2000)
        )
        body = framed(TENSOR if path == INFER else ONE)
        call = made.whole(body, path) if whole else made.call(path).raw(body).end()
        assert isinstance(call.handler, PlainCall)
        outcome(call, sinks[0])
        data = made.data
        told = [type(each).__name__ for each in data.ends]
        found.append((call.code, call.stream.trailers, call.stream.body, told, data.cancelled, made.metrics.statuses))
        assert len(made.log) == 1
    assert found[0] == found[1]


@pytest.mark.parametrize("before", [(), (b"x",)])
async def test_a_deadline_that_passes_takes_the_request_out_of_the_queue(before: tuple[bytes, ...]) -> None:
    sinks: list[Sink] = []
    made = Desk(FakeDataPlane(behave=lambda _, sink: sinks.append(sink)))
    call = made.whole(framed(ONE), grpc_timeout="1m")
    pieces(sinks[0], *before)
    await until(lambda: call.code is not None)
    sinks[0].done(Reply(b"late"))
    assert (call.code, made.data.cancelled, len(made.log)) == (Code.DEADLINE_EXCEEDED, 1, 1)


# ---- large compressed messages


async def test_a_large_compressed_message_is_decompressed_by_a_thread() -> None:
    made = desk()
    call = made.whole(framed(large(), squeezed=True), grpc_encoding="gzip")
    assert (call.code, made.data.arriving, made.data.payloads) == (None, 1, [])
    assert made.data.held > len(LARGE), "what is on its way counts"
    await until(lambda: call.code is not None)
    assert (call.code, call.messages()[0].prediction) == (Code.OK, LARGE + b"\0")
    assert (made.data.arriving, made.data.held) == (0, 0)


async def test_messages_keep_their_order_behind_a_compressed_one() -> None:
    made = desk()
    made.data.statefully = True
    call = made.call(SEQUENCES, grpc_encoding="gzip", ts_request_sequence_start="true")
    messages = [(large(1), True), (ONE, False), (large(2), True), (large(3), True), (ONE, True)]
    call.raw(b"".join(framed(data, squeezed=squeezed) for data, squeezed in messages))
    taken = call.stream.taken
    call.raw(framed(ONE)).end()
    assert call.stream.taken == taken, "the client may send no more meanwhile"
    await until(lambda: call.code is not None)
    sizes = [len(each.prediction) for each in call.messages()]
    assert sizes == [len(LARGE) + 1, 5, len(LARGE) + 1, len(LARGE) + 1, 5, 5]
    assert [each.prediction[-1] for each in call.messages() if len(each.prediction) > 5] == [1, 2, 3]
    assert (call.code, made.data.arriving, made.data.held) == (Code.OK, 0, 0)


WRONG: dict[str, tuple[Callable[[], bytes], Code, str]] = {
    "a bomb": (lambda: gzip.compress(bytes(2_000_000)), Code.RESOURCE_EXHAUSTED, "more than the 1000000 bytes"),
    "cut off": (lambda: gzip.compress(large())[:-9], Code.INVALID_ARGUMENT, "not gzip"),
    "more behind it": (lambda: gzip.compress(large()) + b"x", Code.INVALID_ARGUMENT, "not gzip"),
    "broken": (lambda: gzip.compress(large())[:150_000] + bytes(60_000), Code.INVALID_ARGUMENT, "not gzip"),
    "no message": (lambda: gzip.compress(b"\xff" * 200_000), Code.INVALID_ARGUMENT, "not the message"),
}


@pytest.mark.parametrize(("make", "code", "text"), WRONG.values(), ids=WRONG)
async def test_what_is_wrong_with_a_large_compressed_message_is_said(
    make: Callable[[], bytes], code: Code, text: str
) -> None:
    made, data = desk(limits=Limits(max_request_size=1_000_000)), make()
    call = made.whole(b"\1" + len(data).to_bytes(4) + data, grpc_encoding="gzip")
    await until(lambda: call.code is not None)
    assert call.code == code
    assert text in call.text
    assert (made.data.arriving, made.data.held, len(made.log)) == (0, 0, 1)


async def test_a_client_that_leaves_meanwhile_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, rest = asyncio.Event(), Squeezed.rest
    loop = asyncio.get_running_loop()

    def watched(message: Squeezed) -> bytes:
        try:
            return rest(message)
        finally:
            loop.call_soon_threadsafe(begun.set)

    monkeypatch.setattr(framing.Squeezed, "rest", watched)
    made = desk()
    call = made.whole(framed(large(), squeezed=True), grpc_encoding="gzip")
    call.leave()
    assert (made.data.arriving, made.data.held) == (0, 0)
    await begun.wait()
    await asyncio.sleep(0)
    assert (made.data.payloads, [entry.status for entry in made.log]) == ([], [Code.CANCELLED])


async def test_what_is_decompressed_counts_with_all_that_the_server_holds() -> None:
    made = desk()
    made.data.most = 100
    call = made.whole(framed(large(), squeezed=True), grpc_encoding="gzip")
    assert call.code == Code.RESOURCE_EXHAUSTED
    assert "max_pending_bytes" in call.text
    assert (made.data.arriving, made.data.held) == (0, 0)
