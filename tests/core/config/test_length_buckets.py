"""lengthBuckets of model-config.yaml: what is legal, where it has no effect, and which bucket a request is in."""

from __future__ import annotations

from typing import Any

import pytest

from torchserve.core.config.model_options import Requested, resolve_options
from torchserve.core.config.settings import Settings
from torchserve.core.models.length_class import length_class
from torchserve.core.payload import Part, Payload


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([64, 256], (64, 256)),
        ([1], (1,)),
        (list(range(1, 17)), tuple(range(1, 17))),
        *[(wrong, ()) for wrong in ([], 8, "8", [0, 8], [8, 4], [8, 8], [True, 8], [1.5, 8], [1, 2**31], {"a": 8})],
        (list(range(1, 18)), ()),
    ],
)
def test_length_buckets(value: object, expected: tuple[int, ...], caplog: pytest.LogCaptureFixture) -> None:
    assert resolve_options({"lengthBuckets": value}, Requested(), Settings()).length_buckets == expected
    told = "lengthBuckets must be a list of 1 to 16 ascending whole numbers of bytes"
    assert (told in caplog.text) == (not expected)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"batchPolicy": "eager"}, "only the batchPolicy adaptive learns what batches take"),
        ({"continuousBatching": True}, "each step of a batch follows the one before"),
        ({"sequenceBatching": True}, "each step of a batch follows the one before"),
        ({"asyncCommunication": True}, "each request of an asynchronous handler is a batch of its own"),
    ],
)
def test_where_it_has_no_effect(config: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture) -> None:
    assert resolve_options({"lengthBuckets": [8], **config}, Requested(), Settings()).length_buckets == ()
    assert f"lengthBuckets is ignored, as {why}" in caplog.text
    caplog.clear()
    resolve_options(config, Requested(), Settings())
    assert "lengthBuckets" not in caplog.text


@pytest.mark.parametrize(
    ("sizes", "bucket"), [([], 0), ([4], 0), ([5], 1), ([8], 1), ([9], 2), ([4, 4], 1), ([4, 5], 2)]
)
def test_the_bucket_of_a_request(sizes: list[int], bucket: int) -> None:
    parts = tuple([Part("body", "", bytes(size)) for size in sizes])
    assert length_class(Payload("id", parts), (4, 8)) == bucket
