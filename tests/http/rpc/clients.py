"""A running front that speaks gRPC, and what clients of grpcio call on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc.aio

from torchserve.core.config.address import Address
from torchserve.http.front_config import RpcListen
from torchserve.http.message.sequence_headers import SequenceHeaders
from torchserve.http.rpc.application import RpcApplication
from torchserve.http.rpc.protos.messages import message

from ..doubles import RunningFront, running_front
from .doubles import PREDICTIONS, SEQUENCES, STREAM, Request, Response

ANY = RpcListen(Address("127.0.0.1", 0))
HealthRequest, HealthResponse = (message(f"grpc.health.v1.HealthCheck{kind}") for kind in ("Request", "Response"))
ONE = Request(model_name="m", input={"data": b"hello"})


@asynccontextmanager
async def rpc_front(
    *, inference: RpcListen = ANY, management: RpcListen = ANY, **options: Any
) -> AsyncIterator[RunningFront]:
    """A front with two gRPC ports beside the others."""
    rpc = partial(RpcApplication, headers=SequenceHeaders())
    listen = {"inference": inference, "management": management}
    async with running_front(rpc=rpc, rpc_listen=listen, **options) as front:
        yield front


def port(front: RunningFront, api: Any = "inference") -> int:
    return front.front.rpc_bound[api].port


def predict(channel: grpc.aio.Channel) -> Any:
    return channel.unary_unary(PREDICTIONS, request_serializer=_bytes, response_deserializer=Response.FromString)


def stream(channel: grpc.aio.Channel) -> Any:
    return channel.unary_stream(STREAM, request_serializer=_bytes, response_deserializer=Response.FromString)


def sequences(channel: grpc.aio.Channel) -> Any:
    return channel.stream_stream(SEQUENCES, request_serializer=_bytes, response_deserializer=Response.FromString)


def watch(channel: grpc.aio.Channel) -> Any:
    return channel.unary_stream(
        "/grpc.health.v1.Health/Watch", request_serializer=_bytes, response_deserializer=HealthResponse.FromString
    )


def _bytes(each: Any) -> bytes:
    return each.SerializeToString()
