"""Shared memory over REST: which clients are let, and which are not."""

from __future__ import annotations

import os
from typing import Any

import aiohttp
import pytest

from torchserve.core.config.address import Address

from ..doubles import FakeDataPlane
from .region_client import INFER, Client, client, doubles, held, x

PAGES = [{"Origin": "http://127.0.0.1:{port}"}, {"Sec-Fetch-Site": "same-origin"}]


@pytest.mark.parametrize("headers", PAGES)
async def test_web_pages_are_refused_the_server_s_own_too(key: str, headers: dict[str, str]) -> None:
    async with client(FakeDataPlane(behave=doubles)) as made:
        spelt = {name: value.format(port=made.front.port()) for name, value in headers.items()}
        await made.register("r", key)
        for method, path, body in (
            ("POST", INFER, {"inputs": [x("r", 4)]}),
            ("POST", "/v2/systemsharedmemory/region/s/register", {"key": key, "byte_size": 1}),
            ("GET", "/v2/systemsharedmemory/status", None),
            ("POST", "/v2/systemsharedmemory/unregister", None),
        ):
            status, told = await made.ask(method, path, body, **spelt)
            assert (status, told["error"]) == (403, "Web pages may not use shared memory.")
        plain = {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [1], "data": [1]}]}
        assert (await made.ask("POST", INFER, plain, **spelt))[0] == 200


@pytest.mark.parametrize("name", ["Forwarded", "Via", "X-Forwarded-For", "X-Real-IP"])
async def test_what_a_proxy_passes_on_is_refused(key: str, name: str) -> None:
    async with client(FakeDataPlane(behave=doubles)) as made:
        await made.register("r", key)
        for path, body in (
            (INFER, {"inputs": [x("r", 4)]}),
            ("/v2/systemsharedmemory/region/s/register", {"key": key, "byte_size": 1}),
        ):
            status, told = await made.ask("POST", path, body, **{name: "1.1 proxy"})
            assert (status, "a proxy has passed this request on for another" in told["error"]) == (403, True)


async def test_a_page_that_calls_the_server_by_its_own_name_may_not_register(key: str) -> None:
    async with client() as made:  # by DNS rebinding, from a browser of before Sec-Fetch-Site
        said = {"key": key, "byte_size": 1}
        status, told = await made.ask("POST", "/v2/systemsharedmemory/region/r/register", said, Host="page.example")
        assert (status, "does not know itself as page.example" in told["error"], held(key)) == (403, True, 0)


async def test_pages_that_cors_lets_predict_may_not_register(key: str) -> None:
    from torchserve.http.cors import Cors

    async with client(cors=Cors("http://page.example", "", "")) as made:
        said = {"key": key, "byte_size": 1}
        status, _ = await made.ask(
            "POST", "/v2/systemsharedmemory/region/r/register", said, Origin="http://page.example"
        )
        assert (status, held(key)) == (403, 0)


EVERYWHERE = {"listen": {"inference": Address("0.0.0.0", 0)}}
OFF = "Shared memory is off here."


@pytest.mark.parametrize("options", [EVERYWHERE, {"shared_memory": "off"}])
async def test_where_it_is_off_each_use_says_what_to_do(key: str, options: dict[str, Any]) -> None:
    async with client(FakeDataPlane(behave=doubles), **options) as made:
        for method, path, body in (
            ("POST", INFER, {"inputs": [x("r", 4)]}),
            ("POST", "/v2/systemsharedmemory/region/r/register", {"key": key, "byte_size": 1}),
            ("GET", "/v2/systemsharedmemory/status", None),
            ("POST", "/v2/systemsharedmemory/unregister", None),
        ):
            status, told = await made.ask(method, path, body)
            assert status == 403
            assert told["error"].startswith(OFF)
            assert "open_inference_shared_memory=true" in told["error"]
        assert held(key) == 0
        assert "system_shared_memory" not in (await made.ask("GET", "/v2"))[1]["extensions"]


async def test_everywhere_lets_clients_of_this_machine(key: str) -> None:
    async with client(FakeDataPlane(behave=doubles), shared_memory="all", **EVERYWHERE) as made:
        assert await made.register("r", key) == (200, {})
        assert (await made.infer(x("r", 4)))[0] == 200


async def test_a_client_that_nobody_knows_is_refused(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchserve.http.message import peer

    monkeypatch.setattr(peer, "user_of_socket", lambda *_: None)  # as of one on another machine
    async with client(shared_memory="all", **EVERYWHERE) as made:
        status, told = await made.register("r", key)
        assert (status, held(key)) == (403, 0)
        assert "the system can't tell which user of it this client is" in told["error"]


async def test_another_user_can_neither_see_nor_use_a_region(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchserve.http.message import peer

    async with client(FakeDataPlane(behave=doubles)) as made:
        await made.register("r", key)
        monkeypatch.setattr(peer, "user_of_socket", lambda *_: os.getuid() + 1)
        async with aiohttp.ClientSession() as session:
            other = Client(made.front, session)
            assert await other.ask("GET", "/v2/systemsharedmemory/status") == (200, [])
            assert (await other.infer(x("r", 4)))[0] == 400
            assert (await other.register("mine", key))[0] == 403
            assert (await other.ask("POST", "/v2/systemsharedmemory/unregister"))[0] == 200
        assert (await made.infer(x("r", 4)))[0] == 200


async def test_cuda_s_has_no_regions_and_takes_none() -> None:
    async with client() as made:
        assert await made.ask("GET", "/v2/cudasharedmemory/status") == (200, [])
        assert await made.ask("POST", "/v2/cudasharedmemory/unregister") == (200, {})
        assert await made.ask("POST", "/v2/cudasharedmemory/region/r/unregister") == (200, {})
        for method, path in (("POST", "region/r/register"), ("GET", "region/r/status"), ("GET", "what")):
            status, told = await made.ask(method, f"/v2/cudasharedmemory/{path}")
            assert status == 400
            assert told["error"] == (
                "CUDA shared memory is not supported: send tensors in binary form, or use system shared memory."
            )
