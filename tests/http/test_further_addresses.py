"""Predictions at further addresses and paths, as platforms choose theirs."""

from __future__ import annotations

import aiohttp
import pytest

from torchserve.core.config.address import Address
from torchserve.core.errors import InvalidConfig
from torchserve.http.routes import ROUTES, further_routes

from ..ports import kept_ports
from .doubles import running_front

LISTEN = {"inference": Address("127.0.0.1", 0), "management": Address("127.0.0.1", 0)}
VERTEX = "/v1/endpoints/12/deployedModels/34"


async def test_a_further_address_serves_predictions_alone() -> None:
    with kept_ports(1) as (port,):
        async with (
            running_front(listen=LISTEN, further=(Address("127.0.0.1", port),)) as h,
            aiohttp.ClientSession() as client,
        ):
            assert h.front.bound["inference"].port != port
            async with client.post(f"http://127.0.0.1:{port}/predictions/m", data=b"hello") as response:
                assert (response.status, await response.read()) == (200, b"hello")
            async with client.get(f"http://127.0.0.1:{port}/models") as response:
                assert response.status == 404
        async with aiohttp.ClientSession() as client:
            with pytest.raises(aiohttp.ClientConnectorError):
                await client.get(f"http://127.0.0.1:{port}/ping")


async def test_one_that_can_not_be_had_is_named() -> None:
    with kept_ports(1) as (port,):
        taken = (Address("127.0.0.1", port),) * 2
        with pytest.raises(InvalidConfig, match="further_inference_addresses: can't listen on"):
            async with running_front(listen=LISTEN, further=taken):
                pass


@pytest.mark.parametrize("path", [f"{VERTEX}:predict", "/api/predict", "/"])
async def test_a_platforms_own_paths(path: str) -> None:
    predict = None if path == "/" else path
    async with running_front(health_route=VERTEX, predict_route=predict) as h, aiohttp.ClientSession() as client:
        async with client.get(h.url(VERTEX)) as response:
            assert (response.status, await response.json()) == (200, {"status": "Healthy"})
        async with client.post(h.url(path), data=b"hello") as response:
            assert response.status == (200 if predict else 405)
            assert len(h.data.payloads) == (1 if predict else 0)


@pytest.mark.parametrize(
    ("health", "predict", "made"),
    [
        ("/ping", "/predictions/m", []),
        ("/health/ready", "/v1/models/m:predict", []),
        ("/up", "/invocations", ["/up"]),
        ("/v1/up", "/v1/predict", ["/v1/up", "/v1/predict"]),
        ("/api/predict/up", "/api/predict", ["/api/predict/up", "/api/predict"]),
        (None, None, []),
    ],
)
def test_a_path_that_is_served_anyhow_gets_no_row(health: str | None, predict: str | None, made: list[str]) -> None:
    assert [row.path for row in further_routes(ROUTES, health, predict)] == made
