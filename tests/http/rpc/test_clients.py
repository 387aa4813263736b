"""Real clients over real sockets: grpcio's asynchronous and blocking ones, its health checker and its reflection."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from time import time
from typing import Any

import grpc
import grpc.aio
import grpc_health.v1.health_pb2 as health
import grpc_health.v1.health_pb2_grpc as health_stubs
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from torchserve.core.config.address import Address
from torchserve.core.key_file import KeyFile
from torchserve.core.payload import Payload, Reply
from torchserve.core.tokens import Tokens
from torchserve.http.auth import TokenAuth
from torchserve.http.front_config import RpcListen
from torchserve.http.message.limits import Limits

from ...ports import kept_ports
from .. import certificates
from ..doubles import SOON, FakeControlPlane, FakeDataPlane, Sink, connect, until
from .clients import ONE, HealthRequest, port, predict, rpc_front, sequences, stream, watch
from .doubles import INFERENCE, Request

LARGE = Request(model_name="m", input={"data": bytes(range(256)) * 20_000})


@pytest.fixture(autouse=True)
async def _soon() -> AsyncIterator[None]:
    async with asyncio.timeout(4 * SOON):
        yield


def channel(target: int, **options: Any) -> grpc.aio.Channel:
    given = {
        "grpc.max_receive_message_length": -1,
        "grpc.max_send_message_length": -1,
        "grpc.use_local_subchannel_pool": 1,
    }
    return grpc.aio.insecure_channel(f"127.0.0.1:{target}", options=list((given | options).items()))


async def fails(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value


async def test_a_prediction_small_and_large() -> None:
    async with rpc_front() as front, channel(port(front)) as made:
        assert (await predict(made)(ONE)).prediction == b"hello"
        assert (await predict(made)(LARGE)).prediction == LARGE.input["data"]
        assert [entry.method for entry in front.log] == ["gRPC", "gRPC"]


async def test_many_calls_at_once_on_one_connection_get_their_own_answers() -> None:
    async with rpc_front() as front, channel(port(front)) as made:
        asked = [Request(model_name="m", input={"data": str(n).encode() * 5000}) for n in range(300)]
        answers = await asyncio.gather(*(predict(made)(each) for each in asked))
        assert [each.prediction for each in answers] == [each.input["data"] for each in asked]


async def test_a_port_of_the_rest_api_answers_grpc_too() -> None:
    async with rpc_front() as front, channel(front.port()) as made, channel(front.port("management")) as other:
        assert (await predict(made)(ONE)).prediction == b"hello"
        assert (await fails(predict(other)(ONE))).code() == grpc.StatusCode.UNIMPLEMENTED
        assert b"404" in (await front.say(b"GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))[:20]


async def test_one_address_for_both_is_one_port() -> None:
    with kept_ports(1) as (number,):
        address = Address("127.0.0.1", number)
        async with (
            rpc_front(listen={"inference": address}, inference=RpcListen(address)) as front,
            channel(number) as made,
        ):
            assert port(front) == number
            assert (await predict(made)(ONE)).prediction == b"hello"


async def test_a_grpc_port_answers_nothing_else() -> None:
    async with rpc_front() as front:
        async with connect(port(front)) as (reader, writer):
            writer.write(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.wait_for(reader.read(), SOON)
        async with channel(port(front)) as made:
            assert (await predict(made)(ONE)).prediction == b"hello"


async def test_a_message_over_the_limit_is_refused_and_the_connection_goes_on() -> None:
    async with rpc_front(limits=Limits(max_request_size=100_000)) as front, channel(port(front)) as made:
        error = await fails(predict(made)(LARGE))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "max_request_size" in (error.details() or "")
        assert (await predict(made)(ONE)).prediction == b"hello"


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_messages(compression: grpc.Compression) -> None:
    async with rpc_front() as front, channel(port(front)) as made:
        assert (await predict(made)(LARGE, compression=compression)).prediction == LARGE.input["data"]


async def test_errors_and_their_texts_arrive() -> None:
    async with rpc_front() as front, channel(port(front)) as made:
        error = await fails(predict(made)(Request(model_name="ü%\n")))
        assert error.code() == grpc.StatusCode.NOT_FOUND
        assert (error.details() or "").startswith("Model not found: ü%\n\n")


def never(_payload: Payload, _sink: Sink) -> None:
    pass


async def test_a_deadline_of_the_client_ends_the_call_on_both_sides() -> None:
    data = FakeDataPlane(behave=never)
    async with rpc_front(data=data) as front, channel(port(front)) as made:
        error = await fails(predict(made)(ONE, timeout=0.3))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: data.cancelled == 1)
        assert data.payloads[0].timeout == pytest.approx(0.3, abs=0.3)
        await until(lambda: front.log)


async def test_a_cancelled_call_leaves_the_queue() -> None:
    data = FakeDataPlane(behave=never)
    async with rpc_front(data=data) as front, channel(port(front)) as made:
        call = predict(made)(ONE)
        await until(lambda: data.payloads)
        call.cancel()
        await until(lambda: data.cancelled == 1)
        await until(lambda: [entry.status for entry in front.log] == [1])


async def test_a_client_that_goes_away_leaves_the_queue() -> None:
    data = FakeDataPlane(behave=never)
    async with rpc_front(data=data) as front:
        async with channel(port(front)) as made:
            call = predict(made)(ONE)
            await until(lambda: data.payloads)
        await until(lambda: data.cancelled == 1)
        assert call.done()


def three(_payload: Payload, sink: Sink) -> None:
    loop = asyncio.get_running_loop()
    for piece in (b"a", b"b"):
        loop.call_soon(sink.chunk, Reply(piece))
    loop.call_soon(sink.done, Reply(b"c"))


async def test_a_stream_and_a_unary_call_of_the_same_handler() -> None:
    async with rpc_front(data=FakeDataPlane(behave=three)) as front, channel(port(front)) as made:
        assert [each.prediction async for each in stream(made)(ONE)] == [b"a", b"b", b"c"]
        assert (await predict(made)(ONE)).prediction == b"abc"


async def test_requests_of_a_sequence_are_answered_one_by_one() -> None:
    async with rpc_front(data=FakeDataPlane(statefully=True)) as front, channel(port(front)) as made:
        call = sequences(made)()
        for n in range(3):
            await call.write(Request(model_name="m", sequence_id="s", input={"data": str(n).encode()}))
            answer = await call.read()
            assert (answer.prediction, answer.sequence_id) == (str(n).encode(), "s")
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() == grpc.StatusCode.OK


async def test_a_worker_waits_for_a_client_that_stops_reading() -> None:
    sinks: list[Sink] = []
    data = FakeDataPlane(behave=lambda _, sink: sinks.append(sink))
    piece = Reply(bytes(100_000))
    async with (
        rpc_front(data=data, limits=Limits(max_unsent=1_000_000)) as front,
        channel(port(front)) as made,
    ):
        call = stream(made)(ONE)
        await until(lambda: sinks)
        count = 0
        while not data.held_up and count < 10_000:
            sinks[0].chunk(piece)
            count += 1
            await asyncio.sleep(0)
        assert data.held_up
        taken = 0
        while data.held_up:
            assert len((await call.read()).prediction) == len(piece.body)
            taken += 1
        sinks[0].done(Reply(b"end"))
        while await call.read() is not grpc.aio.EOF:
            taken += 1
        assert taken == count + 1
        assert await call.code() == grpc.StatusCode.OK


async def test_keys_are_asked_for_by_metadata(tmp_path: Any) -> None:
    tokens = Tokens.fresh(1e9, time())
    auth = TokenAuth(tokens, KeyFile(tmp_path))
    key = tokens.by_kind["inference"].key
    async with rpc_front(token_auth=auth) as front, channel(port(front)) as made:
        error = await fails(predict(made)(ONE))
        assert error.code() == grpc.StatusCode.PERMISSION_DENIED
        assert error.details() == (
            "Token Authorization failed. Token either incorrect, expired, or not provided correctly"
        )
        assert (await predict(made)(ONE, metadata=[("authorization", f"Bearer {key}")])).prediction == b"hello"


async def test_tls() -> None:
    encrypted = RpcListen(Address("127.0.0.1", 0, tls=True))
    async with rpc_front(inference=encrypted, tls=certificates.context()) as front:
        certificate = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port(front)))
        credentials = grpc.ssl_channel_credentials(certificate.encode())
        options = [("grpc.ssl_target_name_override", "localhost")]
        async with grpc.aio.secure_channel(f"127.0.0.1:{port(front)}", credentials, options=options) as made:
            assert (await predict(made)(ONE)).prediction == b"hello"


async def test_a_drain_answers_what_was_asked_and_refuses_nothing_silently() -> None:
    sinks: list[Sink] = []
    data = FakeDataPlane(behave=lambda _, sink: sinks.append(sink))
    async with rpc_front(data=data) as front, channel(port(front)) as made:
        call = asyncio.ensure_future(predict(made)(ONE))
        watching = watch(made)(HealthRequest(service=""))
        assert (await watching.read()).status == 1
        await until(lambda: sinks)
        drained = asyncio.ensure_future(front.front.drain(SOON))
        await asyncio.sleep(0)
        sinks[0].done(Reply(b"late"))
        assert (await call).prediction == b"late"
        assert await drained is True
        with suppress(grpc.aio.AioRpcError):
            while await watching.read() is not grpc.aio.EOF:
                pass
        assert await watching.code() == grpc.StatusCode.UNAVAILABLE


async def test_an_old_connection_is_replaced_without_a_failed_call() -> None:
    aging = RpcListen(Address("127.0.0.1", 0), max_age=0.1, age_grace=SOON)
    async with rpc_front(inference=aging) as front, channel(port(front)) as made:
        peers = set[object]()
        async with asyncio.timeout(SOON):
            while len(peers) < 3:
                assert (await predict(made)(ONE)).prediction == b"hello"
                peers = {entry.peer for entry in front.log}


def test_a_blocking_client_its_health_checker_and_its_reflection() -> None:
    """They run in threads of this process, while the front runs on a loop of another thread."""
    ready, stop = threading.Event(), threading.Event()
    ports: list[int] = []

    async def serve() -> None:
        async with rpc_front(control=FakeControlPlane()) as front:
            ports.append(port(front))
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(SOON)
        with grpc.insecure_channel(f"127.0.0.1:{ports[0]}") as made:
            stub = health_stubs.HealthStub(made)
            assert stub.Check(health.HealthCheckRequest(), timeout=SOON).status == health.HealthCheckResponse.SERVING
            with pytest.raises(grpc.RpcError) as failed:
                stub.Check(health.HealthCheckRequest(service="x"), timeout=SOON)
            assert failed.value.code() == grpc.StatusCode.NOT_FOUND
            database = ProtoReflectionDescriptorDatabase(made)
            assert f"{INFERENCE}.InferenceAPIsService" in database.get_services()
            pool = DescriptorPool(database)
            found = pool.FindServiceByName(f"{INFERENCE}.InferenceAPIsService")
            assert [method.name for method in found.methods][:2] == ["Ping", "Predictions"]
            fields = pool.FindMessageTypeByName(f"{INFERENCE}.PredictionsRequest").fields_by_name
            assert fields["input"].number == 3
    finally:
        stop.set()
        thread.join(SOON)
