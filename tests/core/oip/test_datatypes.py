"""Elements of tensors: what a datatype's bytes are, beside numpy's, and what doesn't fit is refused with both numbers."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.errors import BadRequest
from torchserve.core.oip.datatypes import (
    SIZES,
    check_bytes,
    check_raw,
    count_of,
    pack,
    pack_bytes,
    unpack_bytes,
)

NUMPY = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip


@st.composite
def whole_numbers(draw: st.DrawFn) -> tuple[str, list[int]]:
    datatype = draw(st.sampled_from([name for name in NUMPY if "INT" in name]))
    info = np.iinfo(NUMPY[datatype])
    return datatype, draw(st.lists(st.integers(int(info.min), int(info.max)), max_size=20))


@given(whole_numbers())
def test_whole_numbers_are_packed_as_numpy_does(drawn: tuple[str, list[int]]) -> None:
    datatype, values = drawn
    assert pack("x", datatype, (len(values),), values) == np.array(values, NUMPY[datatype]).tobytes()


@pytest.mark.parametrize(("datatype", "width"), [("FP16", 16), ("FP32", 32), ("FP64", 64)])
@given(data=st.data())
def test_floats_are_packed_as_numpy_does(datatype: str, width: Any, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.floats(width=width, allow_nan=False), max_size=20))
    assert pack("x", datatype, (len(values),), values) == np.array(values, NUMPY[datatype]).tobytes()


@given(st.lists(st.floats(width=32), max_size=20))
def test_bfloat16_is_rounded_as_torch_does(values: list[float]) -> None:
    wanted = torch.tensor(values, dtype=torch.float32).to(torch.bfloat16)
    packed = torch.frombuffer(
        bytearray(pack("x", "BF16", (len(values),), values)) or bytearray(2), dtype=torch.bfloat16
    )
    assert torch.equal(packed[: len(values)].nan_to_num(7), wanted.nan_to_num(7))


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_bytes_come_back_as_they_were(elements: list[bytes]) -> None:
    raw = pack_bytes(elements)
    assert len(raw) == sum(map(len, elements)) + 4 * len(elements)
    assert unpack_bytes("x", raw, len(elements)) == elements


@given(st.binary(max_size=200), st.integers(0, 60))
def test_arbitrary_bytes_are_elements_or_refused(raw: bytes, count: int) -> None:
    try:
        found = unpack_bytes("x", raw, count)
    except BadRequest as error:
        assert "x" in error.message
    else:
        assert pack_bytes(found) == raw
        assert len(found) == count


@pytest.mark.parametrize(
    ("raw", "count", "told"),
    [
        (
            struct.pack("<I", 2**32 - 1) + b"ab",
            1,
            "element 0 of BYTES says that it has 4294967295 bytes, and 2 are left",
        ),
        (struct.pack("<I", 1) + b"a" + b"\1\0", 2, "2 elements of BYTES, and its 7 bytes end before element 1"),
        (pack_bytes([b"a", b"b"]), 1, "1 elements of BYTES take 5 bytes, and 10 were sent"),
    ],
)
def test_lengths_that_lie_are_told_with_both_numbers(raw: bytes, count: int, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        unpack_bytes("x", raw, count)


def test_many_elements_are_read_in_steps() -> None:
    raw = pack_bytes([b""] * 50_000)
    assert 5 <= len(list(check_bytes("x", raw, 50_000))) <= 50


@pytest.mark.parametrize(
    ("datatype", "shape", "size", "told"),
    [
        ("FP32", (1, 3), 8, r"x has the shape \[1, 3\] of FP32, which takes 12 bytes, and 8 were sent."),
        ("FP32", (1, 3), 13, "takes 12 bytes, and 13 were sent"),
        ("BYTES", (3,), 11, "takes at least 12 bytes for the elements' lengths, and 11 were sent"),
        ("FP32", (-1, 3), 0, r"shape \[-1, 3\]; no dimension may be negative"),
        ("UINT8", (2**40, 2**40), 0, "more than 9223372036854775807 elements"),
        ("UINT8", (0, 10**30), 0, "more than 9223372036854775807 elements"),
        ("UINT8", (1,) * 33, 1, "33 dimensions and at most 32"),
        ("FLOAT", (1,), 4, "datatype 'FLOAT'; the datatypes are BOOL, UINT8"),
    ],
)
def test_a_shape_that_does_not_fit_is_told_with_both_numbers(
    datatype: str, shape: tuple[int, ...], size: int, told: str
) -> None:
    with pytest.raises(BadRequest, match=told):
        check_raw("x", datatype, shape, size)


@pytest.mark.parametrize(
    ("datatype", "shape", "values", "told"),
    [
        ("INT8", (1,), [128], "a number that INT8 can't hold"),
        ("UINT64", (1,), [-1], "a number that UINT64 can't hold"),
        ("FP16", (1,), [1e6], "a number that FP16 can't hold"),
        ("INT32", (1,), [1.5], "x is INT32, so its data must be whole numbers, and it holds a number"),
        ("FP32", (2,), [1, "2"], "x is FP32, so its data must be numbers, and it holds text"),
        ("FP32", (1,), [None], "it holds null"),
        ("INT64", (1,), [True], "it holds true or false"),
        ("BOOL", (1,), [1], "must be true and false, and it holds a number"),
        ("BYTES", (1,), [1], "must be texts"),
        ("FP32", (3,), [1, 2], r"shape \[3\], which is 3 elements, and its data has 2"),
        ("FP32", (2, 2), [[1], [2, 3, 4]], "differ in length"),
        ("FP32", (2, 2), [[1, 2], 3], "differ in length or depth"),
        ("FP32", (2, 2), [1, [2]], "differ in length or depth"),
        ("FP32", (1,), [[1]], "nested more deeply"),
        ("FP32", (1,), {"a": 1}, "must be a list, not an object"),
        ("FP32", (1,), 1.0, "must be a list, not a number"),
    ],
)
def test_values_that_do_not_fit_are_told(datatype: str, shape: tuple[int, ...], values: Any, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        pack("x", datatype, shape, values)


def test_nested_and_flat_values_are_one_tensor() -> None:
    nested = [[[1, 2, 3]], [[4, 5, 6]]]
    assert pack("x", "INT16", (2, 1, 3), nested) == pack("x", "INT16", (2, 1, 3), [1, 2, 3, 4, 5, 6])
    assert pack("x", "BYTES", (2,), ["é", b"\0"]) == pack_bytes(["é".encode(), b"\0"])
    assert pack("x", "BOOL", (2, 1), [[True], [False]]) == b"\1\0"
    assert pack("x", "FP32", (), [1.5]) == struct.pack("<f", 1.5)


def test_a_shape_without_elements_is_one() -> None:
    assert count_of("x", (0, 5)) == 0
    assert pack("x", "FP32", (0, 5), []) == b""
    assert set(NUMPY) | {"BF16", "BYTES"} == set(SIZES)
