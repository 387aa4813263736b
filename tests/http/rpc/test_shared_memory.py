"""Shared memory over gRPC: regions, tensors in and out of them for one request and in streams, and who is let."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from torchserve.core.oip.infer_answer import InferAnswer, reply_of
from torchserve.core.oip.infer_request import Tensor
from torchserve.core.oip.regions import Regions
from torchserve.core.payload import Payload, Reply
from torchserve.http.message.limits import Limits
from torchserve.http.message.peer import Peer
from torchserve.http.rpc.protos.messages import message
from torchserve.http.rpc.status import Code

from ...descriptors import open_paths
from ..doubles import FakeDataPlane, Sink
from .doubles import Called, Desk

SERVICE = "/inference.GRPCInferenceService"
Infer, Answer = message("inference.ModelInferRequest"), message("inference.ModelInferResponse")
StreamAnswer = message("inference.ModelStreamInferResponse")
ME = os.getuid()


def client_of(user: int | None) -> Peer:
    """A client whose user the kernel has told."""
    made = Peer("127.0.0.1:1234")
    made._ends, made._user = None, user
    return made


def doubles(payload: Payload, sink: Sink) -> None:
    """Answer at once with output `y`, the bytes of the first input."""
    body = payload.parts[0].body
    sink.done(
        reply_of(
            InferAnswer("m", "1.0", "", (Tensor("y", "UINT8", (len(body),), body), Tensor("z", "INT8", (1,), b"z")))
        )
    )


@pytest.fixture
def regions(tmp_path: Path) -> Iterator[Regions]:
    """Regions in a folder with `file`, of 64 bytes."""
    (tmp_path / "file").write_bytes(bytes(range(64)))
    made = Regions(tmp_path)
    yield made
    made.close()
    assert open_paths(f"{tmp_path}/") == []


def desk_of(regions: Regions | None, user: int | None = ME, **more: Any) -> Desk:
    data = more.pop("data", None) or FakeDataPlane(behave=doubles)
    return Desk(data, options={"regions": regions}, peer=client_of(user), **more)


def ask(desk: Desk, method: str, headers: dict[str, str] | None = None, **fields: Any) -> Called:
    said = message(f"inference.{method}Request")(**fields)
    return desk.call(f"{SERVICE}/{method}", **(headers or {})).say(said)


def register(desk: Desk, name: str = "r", **fields: Any) -> Called:
    return ask(desk, "SystemSharedMemoryRegister", name=name, **({"key": "/file", "byte_size": 64} | fields))


def status(desk: Desk, name: str = "") -> dict[str, tuple[str, str, int, int]]:
    call = ask(desk, "SystemSharedMemoryStatus", name=name)
    assert call.code == Code.OK, call.text
    (answer,) = call.messages(message("inference.SystemSharedMemoryStatusResponse"))
    return {name: (each.name, each.key, each.offset, each.byte_size) for name, each in answer.regions.items()}


def there(region: str, size: int, offset: int = 0) -> dict[str, Any]:
    found = {"shared_memory_region": {"string_param": region}, "shared_memory_byte_size": {"int64_param": size}}
    return found | ({"shared_memory_offset": {"int64_param": offset}} if offset else {})


def x(size: int, offset: int = 0, region: str = "r", name: str = "x") -> dict[str, Any]:
    return {"name": name, "datatype": "UINT8", "shape": [size], "parameters": there(region, size, offset)}


async def test_regions_are_registered_shown_and_forgotten(regions: Regions) -> None:
    desk = desk_of(regions)
    assert status(desk) == {}
    assert register(desk, offset=8, byte_size=16).code == Code.OK
    assert status(desk) == status(desk, "r") == {"r": ("r", "/file", 8, 16)}
    again = register(desk)
    assert (again.code, again.text) == (
        Code.ALREADY_EXISTS, "A shared memory region 'r' is registered already, for '/file': unregister it first.",
    )  # fmt: skip
    assert ask(desk, "SystemSharedMemoryStatus", name="other").code == Code.NOT_FOUND
    assert ask(desk, "SystemSharedMemoryUnregister", name="r").code == Code.OK
    assert register(desk).code == Code.OK
    assert ask(desk, "SystemSharedMemoryUnregister").code == Code.OK
    assert status(desk) == {}


BAD: list[tuple[dict[str, Any], Code, str]] = [
    ({"key": "/nothing"}, Code.NOT_FOUND, "there is no shared memory '/nothing'"),
    ({"key": "../file"}, Code.INVALID_ARGUMENT, "is no name of POSIX shared memory"),
    ({"key": ""}, Code.INVALID_ARGUMENT, "The key has 0 bytes"),
    ({"name": ""}, Code.INVALID_ARGUMENT, "has 1 to 256 characters"),
    ({"byte_size": 65}, Code.INVALID_ARGUMENT, "end at 65, and '/file' has 64 bytes"),
    ({"byte_size": 0}, Code.INVALID_ARGUMENT, "byte_size must be a number of bytes, 1 to"),
    ({"offset": 2**64 - 1}, Code.INVALID_ARGUMENT, "offset must be a number of bytes"),
]


@pytest.mark.parametrize(("fields", "code", "told"), BAD)
async def test_what_can_t_be_registered_is_told(
    regions: Regions, fields: dict[str, Any], code: Code, told: str
) -> None:
    call = register(desk_of(regions), **fields)
    assert (call.code, told in call.text) == (code, True), call.text


async def test_tensors_go_in_and_out(regions: Regions, tmp_path: Path) -> None:
    desk = desk_of(regions)
    register(desk)
    plain = {"name": "b", "datatype": "UINT8", "shape": [2]}
    wanted = [{"name": "y", "parameters": there("r", 16, 32)}, {"name": "z"}]
    call = desk.call(f"{SERVICE}/ModelInfer").say(
        Infer(model_name="m", inputs=[x(4, 8), plain, x(1, name="c")], outputs=wanted, raw_input_contents=[b"bb"])
    )
    assert call.code == Code.OK, call.text
    (answer,) = call.messages(Answer)
    assert [bytes(part.body) for part in desk.data.payloads[0].parts] == [bytes([8, 9, 10, 11]), b"bb", b"\0"]
    assert {name: each.WhichOneof("parameter_choice") for name, each in answer.outputs[0].parameters.items()} == {
        "shared_memory_region": "string_param", "shared_memory_byte_size": "int64_param",
        "shared_memory_offset": "int64_param",
    }  # fmt: skip
    assert list(answer.raw_output_contents) == [b"", b"z"]  # clients find an output's by its place
    assert (tmp_path / "file").read_bytes()[32:37] == bytes([8, 9, 10, 11, 36])


async def test_beside_typed_contents_an_output_has_none(regions: Regions, tmp_path: Path) -> None:
    desk = desk_of(regions)
    register(desk)
    typed = {"name": "b", "datatype": "UINT8", "shape": [2], "contents": {"uint_contents": [7, 8]}}
    call = desk.call(f"{SERVICE}/ModelInfer").say(
        Infer(model_name="m", inputs=[typed, x(4)], outputs=[{"name": "y", "parameters": there("r", 2)}, {"name": "z"}])
    )
    (answer,) = call.messages(Answer)
    assert not answer.outputs[0].HasField("contents")
    assert list(answer.outputs[1].contents.int_contents) == [122]
    assert (tmp_path / "file").read_bytes()[:3] == bytes([7, 8, 2])


async def test_each_request_of_a_stream_has_its_places_or_its_error(regions: Regions, tmp_path: Path) -> None:
    desk = desk_of(regions)
    register(desk)
    outputs = [[{"name": "y", "parameters": there("r", 4, 8 * n)}] for n in (4, 5)]
    call = desk.call(f"{SERVICE}/ModelStreamInfer").say(
        Infer(model_name="m", id="1", inputs=[x(4, 1)], outputs=outputs[0]),
        Infer(model_name="m", id="2", inputs=[x(4, 62)], outputs=outputs[0]),
        Infer(model_name="m", id="3", inputs=[x(4, 2)], outputs=[{"name": "y", "parameters": there("r", 3)}]),
        Infer(model_name="m", id="4", inputs=[x(4, 3)], outputs=outputs[1]),
    )
    assert call.code == Code.OK
    told = [each.error_message for each in call.messages(StreamAnswer)]
    assert [told[0], told[3]] == ["", ""]
    assert "takes the bytes 62 to 66 of shared memory region 'r', which has 64" in told[1]
    assert "Output 'y' has 4 bytes, and the request gives it 3" in told[2]
    assert (tmp_path / "file").read_bytes()[32:44] == bytes([1, 2, 3, 4, 36, 37, 38, 39, 3, 4, 5, 6])


WRONG: list[tuple[Any, Code, str]] = [
    (x(4, region="other"), Code.INVALID_ARGUMENT, "no shared memory region 'other' is registered"),
    (x(4) | {"shape": [5]}, Code.INVALID_ARGUMENT, "which takes 5 bytes, and 4 were sent"),
    (x(4) | {"contents": {"uint_contents": [1]}}, Code.INVALID_ARGUMENT, "both data and the parameter"),
    (x(4, -4), Code.INVALID_ARGUMENT, "shared_memory_offset must be a number of bytes"),
    (x(40), Code.RESOURCE_EXHAUSTED, "and 40 in shared memory, and at most 90 are accepted in all (max_request_size)"),
]


@pytest.mark.parametrize(("wrong", "code", "told"), WRONG)
async def test_what_is_wrong_with_an_input_is_told(regions: Regions, wrong: Any, code: Code, told: str) -> None:
    desk = desk_of(regions, limits=Limits(max_request_size=90 if code == Code.RESOURCE_EXHAUSTED else 10**6))
    register(desk)
    call = desk.call(f"{SERVICE}/ModelInfer").say(Infer(model_name="m", inputs=[wrong]))
    assert (call.code, told in call.text) == (code, True), call.text


async def test_raw_contents_are_of_the_inputs_that_are_not_in_shared_memory(regions: Regions) -> None:
    desk = desk_of(regions)
    register(desk)
    call = desk.call(f"{SERVICE}/ModelInfer").say(
        Infer(
            model_name="m",
            inputs=[x(4), {"name": "b", "datatype": "UINT8", "shape": [1]}],
            raw_input_contents=[b"1", b"2"],
        )
    )
    assert (call.code, call.text) == (
        Code.INVALID_ARGUMENT,
        "The request has 1 inputs that are not in shared memory, and 2 raw_input_contents: each needs one.",
    )


async def test_a_client_that_leaves_leaves_nothing_open(regions: Regions, tmp_path: Path) -> None:
    waiting: list[Sink] = []
    desk = desk_of(regions, data=FakeDataPlane(behave=lambda _payload, sink: waiting.append(sink)))
    register(desk)
    said = Infer(model_name="m", inputs=[x(4)], outputs=[{"name": "y", "parameters": there("r", 4)}])
    calls = [desk.call(f"{SERVICE}/{name}").say(said, end=False) for name in ("ModelInfer", "ModelStreamInfer")]
    ask(desk, "SystemSharedMemoryUnregister")
    assert len(open_paths(f"{tmp_path}/")) == 1
    for call in calls:
        call.leave()
    assert open_paths(f"{tmp_path}/") == []
    waiting[0].done(Reply(b""))  # which nobody waits for


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
async def test_a_streamed_answer_can_t_go_to_shared_memory(regions: Regions, method: str) -> None:
    def stream(_payload: Payload, sink: Sink) -> None:
        sink.chunk(Reply(b"piece"))
        sink.done(Reply(b"last"))

    desk = desk_of(regions, data=FakeDataPlane(behave=stream))
    register(desk)
    call = desk.call(f"{SERVICE}/{method}").say(
        Infer(model_name="m", inputs=[x(4)], outputs=[{"name": "y", "parameters": there("r", 4)}])
    )
    told = call.text if method == "ModelInfer" else call.messages(StreamAnswer)[0].error_message
    assert told.startswith("A handler that streams its answer can't write outputs to shared memory.")


# ---- who is let


async def test_another_user_can_neither_see_nor_use_a_region(regions: Regions) -> None:
    mine, other = desk_of(regions), desk_of(regions, ME + 1)
    register(mine)
    assert status(other) == {}
    assert register(other).code == Code.PERMISSION_DENIED
    assert ask(other, "SystemSharedMemoryUnregister").code == Code.OK
    said = Infer(model_name="m", inputs=[x(4)])
    assert other.call(f"{SERVICE}/ModelInfer").say(said).code == Code.INVALID_ARGUMENT
    assert mine.call(f"{SERVICE}/ModelInfer").say(said).code == Code.OK


@pytest.mark.parametrize(
    ("desk", "told"),
    [
        (lambda regions: desk_of(regions, None), "the system can't tell which user of it this client is"),
        (lambda regions: Desk(options={"regions": regions}), "the system can't tell which user"),
        (lambda regions: desk_of(regions, reach="network"), "Shared memory is off here."),
        (lambda _: desk_of(None), "Shared memory is off here."),
    ],
)
async def test_who_may_not_is_told(regions: Regions, desk: Any, told: str) -> None:
    made = desk(regions)
    calls = [
        register(made),
        ask(made, "SystemSharedMemoryStatus"),
        ask(made, "SystemSharedMemoryUnregister"),
        made.call(f"{SERVICE}/ModelInfer").say(Infer(model_name="m", inputs=[x(4)])),
    ]
    assert [call.code for call in calls] == [Code.PERMISSION_DENIED] * 4
    assert all(told in call.text for call in calls)


async def test_a_web_page_may_not(regions: Regions) -> None:
    desk = desk_of(regions)
    page = {"origin": "http://127.0.0.1:7070"}
    said = Infer(model_name="m", inputs=[x(4)])
    calls = [ask(desk, "SystemSharedMemoryStatus", page), desk.call(f"{SERVICE}/ModelInfer", **page).say(said)]
    assert [(call.code, call.text) for call in calls] == [
        (Code.PERMISSION_DENIED, "Web pages may not use shared memory.")
    ] * 2


async def test_the_extension_is_announced_where_it_is(regions: Regions) -> None:
    for desk, there in ((desk_of(regions), True), (desk_of(regions, reach="network"), False), (desk_of(None), False)):
        (answer,) = ask(desk, "ServerMetadata").messages(message("inference.ServerMetadataResponse"))
        assert ("system_shared_memory" in answer.extensions) == there
    everywhere = Desk(options={"regions": regions, "regions_everywhere": True}, peer=client_of(ME), reach="network")
    assert register(everywhere).code == Code.OK


async def test_cuda_s_has_no_regions_and_takes_none(regions: Regions) -> None:
    desk = desk_of(regions)
    call = ask(desk, "CudaSharedMemoryStatus")
    assert (call.code, len(call.messages(message("inference.CudaSharedMemoryStatusResponse"))[0].regions)) == (
        Code.OK,
        0,
    )
    assert ask(desk, "CudaSharedMemoryUnregister").code == Code.OK
    refused = ask(desk, "CudaSharedMemoryRegister", name="c", raw_handle=b"h", byte_size=4)
    assert (refused.code, refused.text) == (
        Code.INVALID_ARGUMENT,
        "CUDA shared memory is not supported: send tensors in binary form, or use system shared memory.",
    )


async def test_a_message_that_has_come_before_is_opened_and_checked_again(regions: Regions, tmp_path: Path) -> None:
    desk = desk_of(regions)
    register(desk)

    def infer() -> Called:
        said = Infer(model_name="m", inputs=[x(4)], outputs=[{"name": "y", "parameters": there("r", 8, 32)}])
        return desk.call(f"{SERVICE}/ModelInfer").say(said)

    assert [infer().code, infer().code] == [Code.OK, Code.OK]
    (tmp_path / "file").write_bytes(bytes(range(100, 164)))
    assert infer().code == Code.OK
    read = [bytes(each.parts[0].body) for each in desk.data.payloads]
    assert read == [bytes(range(4)), bytes(range(4)), bytes(range(100, 104))]
    desk.peer = client_of(ME + 1)
    assert infer().code == Code.INVALID_ARGUMENT, "the regions of another user are not this one's"
    desk.peer = client_of(None)
    assert infer().code == Code.PERMISSION_DENIED
    desk.peer = client_of(ME)
    ask(desk, "SystemSharedMemoryUnregister", name="r")
    assert infer().code == Code.INVALID_ARGUMENT
    assert len(desk.data.payloads) == 3
    (codec,) = {id(each.codec): each.codec for each in desk.application._methods.values() if each.name == "ModelInfer"
                and each.service.startswith("inference")}.values()  # fmt: skip
    assert len(codec._wholes) == 1
