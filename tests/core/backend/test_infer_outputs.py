"""What a worker remembers of tensors and answers that came before makes no other tensor, and no other answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchserve.core.backend import infer_outputs
from torchserve.core.backend.infer_inputs import as_array
from torchserve.core.backend.infer_outputs import encode_answer
from torchserve.core.backend.outputs import UnsupportedOutput
from torchserve.core.errors import BadRequest
from torchserve.core.oip import infer_answer
from torchserve.core.oip.signature import Signature, TensorSpec
from torchserve.core.payload import Infer, TensorHead, WantedOutput

NAMES = st.sampled_from(["a", "b", "outputs", "c" * 300])
ARRAYS = st.sampled_from(
    [
        np.zeros((2, 3), np.float32), np.arange(4, dtype=">i4"), np.array(5), np.zeros((0, 2), np.uint8),
        np.array([True, False]), np.zeros((8_200,), np.int64), np.zeros((4, 6), np.float16)[::2, ::3],
        np.array([b"x", b"yz"], dtype=object), np.array(["t"]), "text", [1, 2], 0.5,
    ]
)  # fmt: skip
WANTED = st.lists(
    st.builds(WantedOutput, st.sampled_from(["a", "b"]), st.booleans()), max_size=2, unique_by=lambda e: e.name
)
DECLARED = st.sampled_from([None, Signature(outputs=(TensorSpec("a", "FP32", (-1,)),))])


def told(value: Any, infer: Infer, signature: Signature | None) -> object:
    try:
        body, length = encode_answer(value, infer, "m", "1", signature)
    except (BadRequest, UnsupportedOutput) as error:
        return str(error)
    return bytes(body), length


@settings(max_examples=60)
@given(
    st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=3),
    WANTED,
    st.booleans(),
    st.sampled_from(["", 'i"d']),
    DECLARED,
)
def test_what_is_remembered_of_answers_makes_no_other_answer(
    value: dict[str, Any], wanted: list[WantedOutput], binary: bool, request_id: str, signature: Signature | None
) -> None:
    infer = Infer((), tuple(wanted), binary, request_id)
    found = [told(value, infer, signature) for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(infer_outputs, "_plain_answer", lambda *_: None)
        patch.setattr(infer_answer, "plain_document", lambda *_: None)
        found.append(told(value, infer, signature))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("by", [-1, 1])
def test_a_shape_that_came_before_takes_as_many_bytes_as_ever(by: int) -> None:
    head = TensorHead("x", "INT16", (3, 1))
    assert as_array(head, bytes(6)).shape == as_array(head, bytearray(6)).shape == (3, 1)
    with pytest.raises(BadRequest, match=f"takes 6 bytes, and {6 + by} were sent"):
        as_array(head, bytes(6 + by))


@pytest.mark.parametrize("count", [2, 10_000])
@pytest.mark.parametrize(
    "make", [lambda numbers: numbers, lambda numbers: numbers.astype(">i4"), lambda numbers: numbers.repeat(2)[::2]]
)
def test_raw_bytes_are_little_endian_and_in_order(make: Any, count: int) -> None:
    body, length = encode_answer({"a": make(np.arange(count, dtype=np.int32))}, Infer(binary=True), "m", "1")
    assert bytes(body[length:]) == np.arange(count, dtype="<i4").tobytes()
