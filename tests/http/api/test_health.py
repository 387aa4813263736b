"""Health: /ping as TorchServe has it, and the probes that tell more."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from ..doubles import FakeControlPlane, running_front


@pytest.mark.parametrize(
    ("api", "path", "well", "status", "body"),
    [
        ("inference", "/ping", True, 200, {"status": "Healthy"}),
        ("inference", "/ping", False, 500, {"status": "Unhealthy"}),
        ("inference", "/health/live", True, 200, {"live": True}),
        ("inference", "/health/live", False, 200, {"live": True}),
        ("inference", "/health/ready", True, 200, {"ready": True}),
        ("inference", "/health/ready", False, 503, {"ready": False, "missing": ["m has 0 of 1 workers."]}),
        ("management", "/v1/models", True, 200, {"models": ["m"]}),
        ("management", "/v1/models/m", True, 200, {"name": "m", "ready": True}),
        ("management", "/v1/models/m", False, 200, {"name": "m", "ready": False}),
    ],
)
async def test_health(api: str, path: str, well: bool, status: int, body: Any) -> None:
    async with running_front(control=FakeControlPlane(well=well)) as h, aiohttp.ClientSession() as client:
        async with client.get(h.url(path, api)) as response:
            assert (response.status, response.content_type) == (status, "application/json")
            assert await response.text() == json.dumps(body, indent=2) + "\n"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/models/nobody", 404), ("POST", "/v1/models/m", 405), ("PUT", "/v1/models", 405)],
)
async def test_wrong(method: str, path: str, status: int) -> None:
    async with running_front() as h, aiohttp.ClientSession() as client:
        for api in ("management", "inference"):
            async with client.request(method, h.url(path, api)) as response:
                assert response.status == status
