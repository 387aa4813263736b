"""What a server asks for by where it listens: tokens, a flag before models can be registered, two where nobody needs a key."""

from __future__ import annotations

from typing import Any

import pytest

from torchserve.core.config.address import parse_address
from torchserve.core.config.exposure import check_exposure, exposure
from torchserve.core.config.settings import Settings
from torchserve.core.errors import InvalidConfig

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
    ("given", "tokens", "model_api", "told"),
    [
        ({}, False, True, ""),
        ({"grpc_inference_address": "0.0.0.0"}, True, True, "inference at http://0.0.0.0:7070 (predict"),
        ({"grpc_management_address": "::"}, True, False, "management at http://[::]:7071 (list"),
        ({"grpc_management_address": "0.0.0.0", "enable_grpc": False}, False, True, ""),
    ],
)
def test_a_grpc_address_beyond_loopback_is_as_exposed_as_another(
    given: dict[str, Any], tokens: bool, model_api: bool, told: str
) -> None:
    assert Settings(**given).tokens is tokens
    assert Settings(**given).model_api is model_api
    said = exposure(Settings(**given, disable_token_authorization=True))
    assert told in said
    assert bool(said) is bool(told)


def test_registering_by_grpc_without_a_key_from_other_machines_needs_a_second_setting() -> None:
    given = Settings(
        grpc_management_address="0.0.0.0", disable_token_authorization=True, enable_model_api=True
    )  # fmt: skip
    with pytest.raises(InvalidConfig, match=r"http://0\.0\.0\.0:7071 run code .* grpc_management_address to 127"):
        check_exposure(given)


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


UNIX = "unix:/run/m.sock"


def settings(management: str, inference: str = NEAR, metrics: str = NEAR, **others: bool | None) -> Settings:
    return Settings(
        inference_address=parse_address(inference),
        management_address=parse_address(management),
        metrics_address=parse_address(metrics),
        **others,  # pyright: ignore[reportArgumentType]
    )


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("enabled", [None, False, True])
@pytest.mark.parametrize("disabled", [None, False, True])
@pytest.mark.parametrize("management", [NEAR, FAR, "http://192.0.2.1:8081", "https://gpu7.example.com", UNIX])
def test_registering_without_a_key_from_other_machines_needs_a_second_setting(
    management: str, disabled: bool | None, enabled: bool | None, allowed: bool
) -> None:
    given = settings(
        management,
        disable_token_authorization=disabled,
        enable_model_api=enabled,
        allow_unauthenticated_model_api=allowed,
    )
    if management in {NEAR, UNIX} or disabled is not True or enabled is not True or allowed:
        check_exposure(given)
        return
    with pytest.raises(InvalidConfig) as caught:
        check_exposure(given)
    text = caught.value.message
    assert "\n" not in text
    assert str(given.management_address) in text
    for way_out in (
        "disable_token_authorization (--disable-token-auth)", f"http://127.0.0.1:{given.management_address.port}",
        "allow_unauthenticated_model_api=true", "--allow-unauthenticated-model-api",
        "TS_ALLOW_UNAUTHENTICATED_MODEL_API=true",
    ):  # fmt: skip
        assert way_out in text


@pytest.mark.parametrize(
    ("given", "said", "unsaid"),
    [
        (settings(FAR, FAR, FAR), [], ["open"]),  # with tokens
        (settings(FAR, FAR, FAR, disable_token_authorization=False), [], ["open"]),
        (settings(NEAR, NEAR, NEAR, disable_token_authorization=True), [], ["open"]),
        (settings(UNIX, NEAR, FAR, disable_token_authorization=True), [], ["open"]),  # as metrics always are
        (
            settings(NEAR, FAR, NEAR, disable_token_authorization=True),
            [f"inference at {FAR} (predict"], ["management at", "metrics at", "register"],
        ),
        (
            settings(FAR, NEAR, FAR, disable_token_authorization=True),
            [f"management at {FAR} (list", "workers", f"metrics at {FAR} (read"], ["inference at", "register"],
        ),
        (
            settings(FAR, FAR, FAR, disable_token_authorization=True, enable_metrics_api=False),
            ["inference at", "management at"], ["metrics at"],
        ),
        (
            settings(
                FAR, disable_token_authorization=True, enable_model_api=True, allow_unauthenticated_model_api=True
            ),
            ["and register models, WHICH RUNS ANY CODE"], ["inference at"],
        ),
    ],
)  # fmt: skip
def test_what_is_open_is_named_with_its_address_and_what_it_lets_anybody_do(
    given: Settings, said: list[str], unsaid: list[str]
) -> None:
    text = exposure(given)
    assert bool(text) is bool(said)
    assert all(each in text for each in said)
    assert not any(each in text for each in unsaid)
