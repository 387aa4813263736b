"""What a server asks for by where it listens: tokens, and a flag before models can be registered."""

from __future__ import annotations

import pytest

from torchserve.core.config.address import parse_address
from torchserve.core.config.settings import Settings

NEAR, FAR = "http://127.0.0.1:1", "http://0.0.0.0:1"


@pytest.mark.parametrize(
    ("inference", "management", "disabled", "tokens"),
    [
        (NEAR, NEAR, None, False), ("http://[::1]:1", "http://localhost:2", None, False),
        (FAR, NEAR, None, True), (NEAR, FAR, None, True), (FAR, FAR, None, True), ("http://[::]:1", NEAR, None, True),
        ("http://192.0.2.1:1", NEAR, None, True), ("http://example.org:1", NEAR, None, True),
        (NEAR, NEAR, False, True), (NEAR, NEAR, True, False), (FAR, FAR, True, False), (FAR, FAR, False, True),
    ],
)  # fmt: skip
def test_tokens(inference: str, management: str, disabled: bool | None, tokens: bool) -> None:
    given = Settings(
        inference_address=parse_address(inference),
        management_address=parse_address(management),
        metrics_address=parse_address(FAR),  # nothing there asks for a token
        disable_token_authorization=disabled,
    )
    assert given.tokens is tokens


@pytest.mark.parametrize(
    ("inference", "management", "enabled", "model_api"),
    [
        (NEAR, NEAR, None, True), (FAR, NEAR, None, True), (NEAR, FAR, None, False), (FAR, FAR, None, False),
        (FAR, FAR, True, True), (NEAR, NEAR, False, False), (NEAR, NEAR, True, True),
    ],
)  # fmt: skip
def test_model_api(inference: str, management: str, enabled: bool | None, model_api: bool) -> None:
    given = Settings(
        inference_address=parse_address(inference),
        management_address=parse_address(management),
        enable_model_api=enabled,
    )
    assert given.model_api is model_api
