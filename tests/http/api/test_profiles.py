"""The routes of profiles and stacks: what reaches the control plane, and what comes back as a file."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from torchserve.core.errors import ProfileRunning
from torchserve.core.profiles import Taken

from ..doubles import FakeControlPlane, running_front


class Profiles:
    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.error: Exception | None = None

    async def take(self, *asked: Any) -> Taken:
        self.asked.append(asked)
        if self.error is not None:
            raise self.error
        return Taken("W-9000-m_1.0.pt.trace.json.gz", b"\x1f\x8b", "torch.profiler, 3 batches")

    async def stacks(self, *asked: Any) -> list[dict[str, Any]]:
        self.asked.append(asked)
        return [{"id": "9000", "stacks": ["File h.py"]}]


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/models/m/profile", ("m", None, None, 10)),
        ("/models/m/2.0/profile?seconds=3&worker=9001", ("m", "2.0", "9001", 3)),
    ],
)
async def test_a_profile_is_a_file(path: str, asked: tuple[Any, ...]) -> None:
    control, profiles = FakeControlPlane(), Profiles()
    control.profiles = profiles  # type: ignore[attr-defined]
    async with running_front(control=control) as h, aiohttp.ClientSession() as client:
        async with client.post(h.url(path, "management")) as response:
            assert (response.status, await response.read()) == (200, b"\x1f\x8b")
            assert response.content_type == "application/gzip"
            assert response.headers["Content-Disposition"] == 'attachment; filename="W-9000-m_1.0.pt.trace.json.gz"'
            assert response.headers["X-Profile-Note"] == "torch.profiler, 3 batches"
        profiles.error = ProfileRunning("one is being taken")
        async with client.post(h.url(path, "management")) as response:
            assert (response.status, (await response.json())["message"]) == (409, "one is being taken")
    assert profiles.asked == [asked] * 2


async def test_stacks_are_told() -> None:
    control, profiles = FakeControlPlane(), Profiles()
    control.profiles = profiles  # type: ignore[attr-defined]
    async with running_front(control=control) as h, aiohttp.ClientSession() as client:
        for path in ("/models/m/stacks", "/models/m/2.0/stacks?worker=9001"):
            async with client.get(h.url(path, "management")) as response:
                assert await response.json() == {"workers": [{"id": "9000", "stacks": ["File h.py"]}]}
    assert profiles.asked == [("m", None, None), ("m", "2.0", "9001")]
