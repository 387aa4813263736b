"""Tensors in shared memory: what a request may say of them, and how they are loaded and stored."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.errors import BadRequest, HandlerFailed
from torchserve.core.oip.infer_answer import InferAnswer, read_answer, reply_of
from torchserve.core.oip.infer_request import InferRequest, Tensor, check, payload_of
from torchserve.core.oip.region_tensors import OFFSET, SIZE, STEP, Places, RegionTensors, places_of
from torchserve.core.oip.regions import MOST_BYTES, Regions
from torchserve.core.oip.rest import LENGTH_HEADER, read_document, wants_binary
from torchserve.core.payload import Payload, Reply

from ...descriptors import open_paths

ME = os.getuid()
REGION = "shared_memory_region"
X = {"name": "x", "datatype": "FP32", "shape": [2], "parameters": {REGION: "r", SIZE: 8}}


@pytest.fixture
def regions(tmp_path: Path) -> Iterator[Regions]:
    (tmp_path / "in").write_bytes(bytes(range(64)))
    (tmp_path / "out").write_bytes(bytes(64))
    made = Regions(tmp_path)
    made.register(ME, "r", "in", 0, 64)
    made.register(ME, "out", "out", 0, 32)
    yield made
    made.close()


def request_of(*inputs: dict[str, Any], outputs: list[dict[str, Any]] | None = None) -> InferRequest:
    said: dict[str, Any] = {"inputs": list(inputs)}
    return read_document(json.dumps(said if outputs is None else said | {"outputs": outputs}).encode())


def places(request: InferRequest) -> tuple[InferRequest, Places]:
    check(request, shared_memory=True)
    stripped, found = places_of(request)
    assert found is not None
    return stripped, found


def loaded(tensors: RegionTensors, request: InferRequest, room: memoryview | None = None) -> tuple[int, Payload]:
    """How many steps it takes to load the inputs, and the payload with them."""
    steps = tensors.load(payload_of(request, "id"), lambda _size: room)
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            return count, ended.value
        count += 1


def test_a_request_without_shared_memory_is_left_alone() -> None:
    request = request_of({"name": "x", "datatype": "FP32", "shape": [1], "data": [1]})
    assert places_of(request) == (request, None)


def test_inputs_are_read_and_others_stay(regions: Regions) -> None:
    plain = {"name": "z", "datatype": "INT32", "shape": [1], "data": [7]}
    moved = {**X, "name": "y", "parameters": {**X["parameters"], OFFSET: 16, "mine": 1}}
    request, found = places(request_of(X, plain, moved))
    assert (found.size, found.outputs) == (16, {})
    tensors = found.open(regions, ME)
    count, payload = loaded(tensors, request)
    tensors.release()
    assert count == 0
    assert [bytes(part.body) for part in payload.parts] == [bytes(range(8)), b"[7]", bytes(range(16, 24))]
    assert payload.infer is not None
    assert [head.parameters for head in payload.infer.inputs] == [{}, {}, {"mine": 1}]


def test_a_large_input_is_read_in_steps_to_where_the_workers_read_it(regions: Regions, tmp_path: Path) -> None:
    data = os.urandom(2 * STEP + 4)
    (tmp_path / "large").write_bytes(data)
    regions.register(ME, "large", "large", 0, len(data))
    request, found = places(
        request_of({**X, "shape": [len(data) // 4], "parameters": {REGION: "large", SIZE: len(data)}})
    )
    room = memoryview(bytearray(len(data)))
    tensors = found.open(regions, ME)
    count, payload = loaded(tensors, request, room)
    tensors.release()
    assert count == 2
    assert payload.parts[0].body is room
    assert room == data


def test_elements_of_bytes_are_checked(regions: Regions, tmp_path: Path) -> None:
    (tmp_path / "texts").write_bytes(struct.pack("<I", 2) + b"ab" + struct.pack("<I", 900))
    regions.register(ME, "texts", "texts", 0, 10)
    for size, wrong in ((6, ""), (10, "Input 'x': its 1 elements of BYTES take 6 bytes, and 10 were sent")):
        head = {"name": "x", "datatype": "BYTES", "shape": [1], "parameters": {REGION: "texts", SIZE: size}}
        request, found = places(request_of(head))
        tensors = found.open(regions, ME)
        if wrong:
            with pytest.raises(BadRequest, match=wrong):
                loaded(tensors, request)
        else:
            assert bytes(loaded(tensors, request)[1].parts[0].body) == b"\2\0\0\0ab"
        tensors.release()


BAD: list[tuple[dict[str, Any], str]] = [
    ({SIZE: 8}, "Input 'x' has neither data nor the parameter binary_data_size"),
    ({REGION: "r"}, "Input 'x': shared_memory_region needs shared_memory_byte_size beside it"),
    ({REGION: 7, SIZE: 8}, "Input 'x': shared_memory_region must be the name of a region, not '7'"),
    ({REGION: "r", SIZE: "8"}, "shared_memory_byte_size must be a number of bytes, 0 to"),
    ({REGION: "r", SIZE: True}, "shared_memory_byte_size must be a number of bytes, 0 to"),
    ({REGION: "r", SIZE: -8}, "shared_memory_byte_size must be a number of bytes, 0 to"),
    ({REGION: "r", SIZE: 8, OFFSET: -1}, "shared_memory_offset must be a number of bytes, 0 to"),
    ({REGION: "r", SIZE: 8, OFFSET: 1.5}, "shared_memory_offset must be a number of bytes, 0 to"),
    ({REGION: "r", SIZE: 8, OFFSET: 2**63}, f"shared_memory_offset must be a number of bytes, 0 to {MOST_BYTES}"),
    ({REGION: "r", SIZE: 16}, r"has the shape \[2\] of FP32, which takes 8 bytes, and 16 were sent"),
    ({REGION: "nobody's", SIZE: 8}, 'no shared memory region "nobody\'s" is registered'),
    ({REGION: "n" * 999, SIZE: 8}, "no shared memory region 'n{256}' is registered"),
    ({REGION: "r", SIZE: 8, OFFSET: 60}, "takes the bytes 60 to 68 of shared memory region 'r', which has 64"),
    ({REGION: "r", SIZE: 8, OFFSET: 2**63 - 1}, "takes the bytes 9223372036854775807 to 9223372036854775815"),
]


@pytest.mark.parametrize(("parameters", "told"), BAD)
def test_what_is_wrong_with_an_input_is_told(regions: Regions, parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        places(request_of({**X, "parameters": parameters}))[1].open(regions, ME)


def test_data_beside_a_region_is_refused() -> None:
    for more in ({"data": [1, 2]}, {"data": []}):
        with pytest.raises(BadRequest, match="both data and the parameter shared_memory_region: send one of them"):
            check(request_of({**X, **more}), shared_memory=True)


def test_whoever_reads_no_shared_memory_refuses_it() -> None:
    plain = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}
    for request in (request_of(X), request_of(plain, outputs=[{"name": "y", "parameters": {REGION: "r", SIZE: 1}}])):
        with pytest.raises(BadRequest, match="is in shared memory, and the values of others make the JSON"):
            check(request)
        assert wants_binary(request)


def test_a_file_that_shrinks_between_two_steps_fails_the_request_alone(regions: Regions, tmp_path: Path) -> None:
    size = 2 * STEP
    (tmp_path / "large").write_bytes(bytes(size))
    regions.register(ME, "large", "large", 0, size)
    request, found = places(request_of({**X, "shape": [size // 4], "parameters": {REGION: "large", SIZE: size}}))
    tensors = found.open(regions, ME)
    steps = tensors.load(payload_of(request, "id"), lambda _size: None)
    next(steps)
    os.truncate(tmp_path / "large", STEP + 5)
    with pytest.raises(
        BadRequest, match=f"has lost its end: {size} bytes of 'large' are needed, and it has {STEP + 5}"
    ):
        next(steps)
    tensors.release()


# ---- outputs

Y = {"name": "y", "parameters": {REGION: "out", SIZE: 8, OFFSET: 4}}


def answering(regions: Regions, *outputs: dict[str, Any]) -> RegionTensors:
    request, found = places(
        request_of({"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}, outputs=list(outputs))
    )
    assert all(each.binary for each in request.outputs if each.name in found.outputs)
    return found.open(regions, ME)


def reply(*outputs: Tensor, **more: Any) -> Reply:
    made = reply_of(InferAnswer("m", "1.0", "7", outputs))
    return Reply(made.body, headers=(*made.headers, ("mine", "1")), **more)


def test_outputs_are_written_and_the_answer_says_where(regions: Regions, tmp_path: Path) -> None:
    tensors = answering(regions, Y, {"name": "z"})
    z = Tensor("z", "INT8", (2,), b"zz")
    made = tensors.store(reply(Tensor("y", "INT32", (1,), b"abcd"), z))
    tensors.release()
    assert (tmp_path / "out").read_bytes() == bytes(4) + b"abcd" + bytes(56)
    assert dict(made.headers)["mine"] == "1"
    length = int(dict(made.headers)[LENGTH_HEADER])
    assert [json.loads(bytes(made.body[:length]))["outputs"][0], bytes(made.body[length:])] == [
        {
            "name": "y", "datatype": "INT32", "shape": [1],
            "parameters": {REGION: "out", SIZE: 4, OFFSET: 4},
        },
        b"zz",
    ]  # fmt: skip
    answer = read_answer(made)
    assert [(each.name, bytes(each.data), each.json) for each in answer.outputs] == [
        ("y", b"", False),
        ("z", b"zz", False),
    ]


def test_an_answer_that_is_all_in_shared_memory_is_json_alone(regions: Regions) -> None:
    tensors = answering(regions, Y)
    made = tensors.store(reply(Tensor("y", "INT32", (1,), b"abcd")))
    tensors.release()
    assert (made.content_type, LENGTH_HEADER in dict(made.headers)) == ("application/json", False)
    assert json.loads(bytes(made.body))["id"] == "7"


def test_an_output_that_is_too_large_is_refused_before_any_is_written(regions: Regions, tmp_path: Path) -> None:
    first = {"name": "a", "parameters": {REGION: "out", SIZE: 4}}
    tensors = answering(regions, first, Y)
    with pytest.raises(
        BadRequest, match="Output 'y' has 12 bytes, and the request gives it 8 of shared memory region 'out'"
    ):
        tensors.store(reply(Tensor("a", "INT8", (4,), b"aaaa"), Tensor("y", "INT32", (3,), b"abcdabcdabcd")))
    tensors.release()
    assert (tmp_path / "out").read_bytes() == bytes(64)


def test_a_place_beyond_its_region_is_refused_before_the_model_runs(regions: Regions) -> None:
    with pytest.raises(
        BadRequest, match="Output 'y' takes the bytes 28 to 36 of shared memory region 'out', which has 32"
    ):
        answering(regions, {"name": "y", "parameters": {REGION: "out", SIZE: 8, OFFSET: 28}})


def test_a_file_that_has_shrunk_is_not_made_longer(regions: Regions, tmp_path: Path) -> None:
    tensors = answering(regions, Y)
    os.truncate(tmp_path / "out", 5)
    with pytest.raises(BadRequest, match="Output 'y': shared memory region 'out' has lost its end"):
        tensors.store(reply(Tensor("y", "INT32", (1,), b"abcd")))
    tensors.release()
    assert (tmp_path / "out").stat().st_size == 5


def test_what_failed_and_what_has_no_tensors(regions: Regions) -> None:
    tensors = answering(regions, Y)
    failed = Reply(b"no", status=503)
    assert tensors.store(failed) is failed
    with pytest.raises(HandlerFailed, match="holds no tensors"):
        tensors.store(Reply(b"no json"))
    with pytest.raises(HandlerFailed, match="Output 'y' came without raw bytes"):
        tensors.store(reply(Tensor("y", "INT32", (1,), b"[1]", json=True)))
    tensors.release()


def test_regions_stay_open_until_the_last_release(regions: Regions, tmp_path: Path) -> None:
    tensors = answering(regions, Y)
    tensors.keep()
    regions.unregister(ME)
    assert open_paths(str(tmp_path)) == [str(tmp_path / "out")]  # `r` is closed: nobody uses it
    tensors.release()
    tensors.store(reply(Tensor("y", "INT32", (1,), b"abcd")))
    assert (tmp_path / "out").read_bytes()[4:8] == b"abcd"
    tensors.release()
    assert open_paths(str(tmp_path)) == []


_VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just("r"), st.integers(0, 70))


@given(
    st.dictionaries(st.sampled_from([REGION, SIZE, OFFSET, "other"]), _VALUES), st.lists(st.integers(0, 9), max_size=3)
)
def test_whatever_a_request_says_its_places_lie_in_their_region(
    tmp_path_factory: pytest.TempPathFactory, parameters: dict[str, Any], shape: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("shm")
    (folder / "in").write_bytes(bytes(range(64)))
    regions = Regions(folder)
    regions.register(ME, "r", "in", 8, 40)
    try:
        request, found = places(request_of({**X, "datatype": "UINT8", "shape": shape, "parameters": parameters}))
        tensors = found.open(regions, ME)
    except BadRequest:
        return
    finally:
        regions.close()
    (place,) = found.inputs.values()
    assert 0 <= place.offset <= place.offset + place.size <= 40
    _, payload = loaded(tensors, request)
    tensors.release()
    assert bytes(payload.parts[0].body) == bytes(range(8 + place.offset, 8 + place.offset + place.size))
