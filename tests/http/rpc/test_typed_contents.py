"""Typed contents become the raw bytes that they stand for: few at once, many in steps between which others are served."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.errors import BadRequest, ServeError
from torchserve.core.oip.datatypes import SIZES, pack
from torchserve.http.rpc import oip_messages, typed_contents
from torchserve.http.rpc.framing import frame
from torchserve.http.rpc.oip_messages import OipMessages
from torchserve.http.rpc.protos.messages import message
from torchserve.http.rpc.status import Code
from torchserve.http.rpc.typed_contents import TYPED

from ..doubles import FakeDataPlane, Sink, until
from .doubles import Desk
from .test_oip_messages import INFER, _call

Request = message("inference.ModelInferRequest")
Input = message("inference.ModelInferRequest.InferInputTensor")
MANY = 70_000
VALUES = {
    "bool_contents": st.booleans(), "int_contents": st.integers(-(2**31), 2**31 - 1),
    "int64_contents": st.integers(-(2**63), 2**63 - 1), "uint_contents": st.integers(0, 2**32 - 1),
    "uint64_contents": st.integers(0, 2**64 - 1), "fp32_contents": st.just(0.5), "fp64_contents": st.just(0.1),
    "bytes_contents": st.binary(max_size=3),
}  # fmt: skip


def asking(*tensors: tuple[str, list[Any]], shape: list[int] | None = None) -> bytes:
    inputs = [
        {"name": f"x{at}", "datatype": datatype, "shape": shape or [len(values)], "contents": {TYPED[datatype]: values}}
        for at, (datatype, values) in enumerate(tensors)
    ]
    return Request(model_name="m", inputs=inputs).SerializeToString()


def read(data: bytes) -> tuple[list[bytes] | str, int]:
    """The raw bytes of a message's tensors, or why it is refused, and after how many steps."""
    codec, steps = OipMessages(), 0
    try:
        asked = codec.decode(_call(), data)
        for _ in codec.check(asked) or ():
            steps += 1
    except ServeError as error:
        return str(error), steps
    return [bytes(part.body) for part in asked.payload.parts], steps


# So many bytes end numbers that there are too many of them, however they are sent.
TOO_MANY = 3 * (1 << 20) + 1


@pytest.mark.parametrize("datatype", ["BOOL", "INT8", "UINT64"])
def test_more_numbers_than_are_accepted_are_refused_before_protobuf_reads_them(datatype: str) -> None:
    # It could not: these are no contents, so that what refuses them has counted them.
    contents = [memoryview(bytes(TOO_MANY // 2)), memoryview(bytes(TOO_MANY // 2 + 1))]
    head = Input(name="x", datatype=datatype, shape=[TOO_MANY])
    with pytest.raises(BadRequest, match=r"^Input 'x' has more than 1048576 elements in \w+_contents"):
        typed_contents.elements("Input 'x'", head, contents, at_once=False)


@pytest.mark.parametrize(
    ("datatype", "value", "count"),
    [("INT64", -1, 400_000), ("BYTES", b"\1" * 1000, 3200), ("FP32", 0.0, 800_000)],
    ids=["long numbers", "texts", "floats in two runs"],
)
def test_many_bytes_that_are_not_many_numbers_are_read(datatype: str, value: Any, count: int) -> None:
    made = Input()
    getattr(made.contents, TYPED[datatype]).extend([value] * (count // 2))
    data = made.contents.SerializeToString() * 2
    assert len(data) > TOO_MANY
    head = Input(name="x", datatype=datatype, shape=[count])
    body, steps = typed_contents.elements("Input 'x'", head, [memoryview(data)], at_once=False)
    for _ in steps or ():
        pass
    assert len(body) == count * (SIZES[datatype] or 4 + len(value))


def test_few_elements_take_no_step() -> None:
    assert read(asking(("INT16", [1, -2]), ("BYTES", [b"a"]))) == ([struct.pack("<2h", 1, -2), b"\1\0\0\0a"], 0)


@pytest.mark.parametrize(
    ("datatype", "values", "steps"),
    [
        ("INT32", list(range(-5, MANY - 5)), 4), ("UINT64", [2**64 - 1] * MANY, 4), ("BOOL", [True, False] * MANY, 8),
        ("BYTES", [b"ab", b""] * MANY, 8), ("FP32", [0.5] * MANY, 0),
    ],
    ids=["INT32", "UINT64", "BOOL", "BYTES", "FP32"],
)  # fmt: skip
def test_many_elements_take_several_steps(datatype: str, values: list[Any], steps: int) -> None:
    (found,), taken = read(asking((datatype, values)))
    assert found == pack("x", datatype, [len(values)], values)
    assert taken >= steps
    assert (taken == 0) == (steps == 0)


@given(st.data())
def test_steps_come_to_the_same(drawn: st.DataObject) -> None:
    datatypes = drawn.draw(st.lists(st.sampled_from(sorted(TYPED)), min_size=1, max_size=3))
    tensors = [(each, drawn.draw(st.lists(VALUES[TYPED[each]], max_size=9))) for each in datatypes]
    shape = drawn.draw(st.sampled_from([None, None, None, [2], [3, 1], [-1], [2**62, 4]]))
    data, found = asking(*tensors, shape=shape), list[Any]()
    with pytest.MonkeyPatch.context() as patch:
        for at_once in (10**6, -1):
            patch.setattr(oip_messages, "AT_ONCE", at_once)
            patch.setattr(typed_contents, "_STEP", 2)
            found.append(read(data)[0])
    if len(tensors) > 1:  # which of two faults is told may differ
        found = ["refused" if isinstance(each, str) else each for each in found]
    assert found[0] == found[1]


def test_a_number_that_does_not_fit_is_refused_when_its_step_comes() -> None:
    values = [*range(100)] * (MANY // 100) + [300]
    codec = OipMessages()
    steps = codec.check(codec.decode(_call(), asking(("INT8", values))))
    assert steps is not None
    next(steps)
    with pytest.raises(BadRequest, match="'x0' has a number that INT8 can't hold"):
        for _ in steps:
            pass


def test_a_shape_of_another_size_is_refused_before_any_step() -> None:
    told = f"which is 3 elements, and its data has {MANY}"
    with pytest.raises(BadRequest, match=told):
        OipMessages().decode(_call(), asking(("INT32", [1] * MANY), shape=[3]))


async def test_others_are_served_between_the_steps_and_the_bytes_count_meanwhile() -> None:
    def behave(payload: Any, sink: Sink) -> None:
        sizes.append(len(payload.parts[0].body))
        sink.fail(BadRequest("that will do"))

    sizes: list[int] = []
    desk = Desk(FakeDataPlane(behave=behave))
    many, few = (asking(("INT64", [1] * count)) for count in (MANY, 1))
    slow = desk.whole(frame(len(many)) + many, INFER)
    quick = desk.whole(frame(len(few)) + few, INFER)
    assert (slow.code, quick.code) == (None, Code.INVALID_ARGUMENT)
    assert desk.data.held >= MANY * SIZES["INT64"]
    await until(lambda: slow.code is not None)
    assert sizes == [8, MANY * 8]
    assert (desk.data.held, desk.data.arriving) == (0, 0)


async def test_steps_of_a_call_that_has_ended_are_not_taken() -> None:
    desk, many = Desk(), asking(("INT64", [1] * MANY))
    desk.whole(frame(len(many)) + many, INFER).leave()
    await until(lambda: not desk.data.arriving)
    assert (desk.data.payloads, desk.data.held) == ([], 0)
