"""Ping, the management service, the health check and reflection."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.json_format import MessageToDict

from torchserve.core.controlplane import Outcome
from torchserve.core.errors import AlreadyRegistered, InvalidKey, ModelNotFound
from torchserve.core.registration import RegisterRequest
from torchserve.http.message.limits import Limits
from torchserve.http.rpc.protos.messages import message
from torchserve.http.rpc.status import Code

from ..doubles import FakeControlPlane, until
from .doubles import INFERENCE, Called, Desk

PACKAGE = "org.pytorch.serve.grpc.management"
MANAGEMENT = f"/{PACKAGE}.ManagementAPIsService/"
Answer = message(f"{PACKAGE}.ManagementResponse")
HealthRequest, HealthResponse = (message(f"grpc.health.v1.HealthCheck{kind}") for kind in ("Request", "Response"))


async def manage(desk: Desk, name: str, **fields: Any) -> Called:
    call = desk.call(MANAGEMENT + name).say(message(f"{PACKAGE}.{name}Request")(**fields))
    await until(lambda: call.code is not None)
    return call


def text_of(call: Called) -> str:
    (answer,) = call.messages(Answer)
    assert call.code == Code.OK
    return answer.msg


@pytest.mark.parametrize(("well", "status"), [(True, "Healthy"), (False, "Unhealthy")])
async def test_ping_says_what_the_rest_api_says(well: bool, status: str) -> None:
    desk = Desk(control=FakeControlPlane(well=well))
    call = desk.call(f"/{INFERENCE}.InferenceAPIsService/Ping").say(b"")
    (answer,) = call.messages(message(f"{INFERENCE}.TorchServeHealthResponse"))
    assert json.loads(answer.health) == {"status": status}
    assert call.code == Code.OK


# RPC, fields -> what the control plane is asked for.
CALLS: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = [
    ("DescribeModel", {"model_name": "m"}, ("describe", "m", None, False)),
    ("DescribeModel", {"model_name": "m", "model_version": "all", "customized": True}, ("describe", "m", "all", True)),
    ("ListModels", {}, ("list_models", 100, 0)),
    ("ListModels", {"limit": 2, "next_page_token": 4}, ("list_models", 2, 4)),
    ("ListModels", {"limit": -1, "next_page_token": -4}, ("list_models", 100, 0)),
    ("ListModels", {"limit": 1000}, ("list_models", 100, 0)),
    ("RegisterModel", {"url": "a.mar"}, ("register", RegisterRequest(url="a.mar", synchronous=False))),
    ("RegisterModel", {
        "url": "a.mar", "model_name": "n", "handler": "h", "runtime": "python3", "batch_size": 2, "initial_workers": 3,
        "max_batch_delay": 4, "response_timeout": 5, "startup_timeout": 6, "synchronous": True, "s3_sse_kms": True,
    }, ("register", RegisterRequest(
        url="a.mar", model_name="n", handler="h", runtime="python3", batch_size=2, initial_workers=3,
        max_batch_delay=4, response_timeout=5, startup_timeout=6, synchronous=True, s3_sse_kms=True,
    ))),
    ("RegisterModel", {"url": "a.mar", "batch_size": -1, "max_batch_delay": -1},
        ("register", RegisterRequest(url="a.mar", synchronous=False))),
    ("ScaleWorker", {"model_name": "m"}, ("scale", "m", None, 1, None, False)),
    ("ScaleWorker", {"model_name": "m", "model_version": "1.0", "min_worker": 2, "max_worker": 3, "synchronous": True},
        ("scale", "m", "1.0", 2, 3, True)),
    ("ScaleWorker", {"model_name": "m", "min_worker": -1}, ("scale", "m", None, 1, None, False)),
    ("SetDefault", {"model_name": "m", "model_version": "2"}, ("set_default", "m", "2")),
    ("UnregisterModel", {"model_name": "m"}, ("unregister", "m", None)),
    ("UnregisterModel", {"model_name": "m", "model_version": "2"}, ("unregister", "m", "2")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fields", "asked"), CALLS)
async def test_a_management_call_is_one_of_the_control_plane(
    name: str, fields: dict[str, Any], asked: tuple[Any, ...]
) -> None:
    desk = Desk()
    if name in {"DescribeModel", "ListModels"}:
        desk.control.result = {"x": [1]}
        assert json.loads(text_of(await manage(desk, name, **fields))) == {"x": [1]}
    else:
        assert text_of(await manage(desk, name, **fields)) == "fine"
    assert desk.control.calls == [asked]


@pytest.mark.parametrize(
    ("name", "needed"), [("RegisterModel", "url"), ("ScaleWorker", "model_name"), ("UnregisterModel", "model_name")]
)
async def test_what_is_missing_is_named(name: str, needed: str) -> None:
    call = await manage(Desk(), name)
    assert call.code == Code.INVALID_ARGUMENT
    assert call.text == f"Parameter {needed} is required.\norg.pytorch.serve.http.BadRequestException"


@pytest.mark.parametrize("name", ["RegisterModel", "UnregisterModel"])
async def test_without_the_model_api_nothing_is_registered_or_removed(name: str) -> None:
    desk = Desk(options={"model_api": False})
    call = await manage(desk, name)
    assert call.code == Code.PERMISSION_DENIED
    assert call.text.startswith("Model API disabled")
    assert desk.control.calls == []
    assert text_of(await manage(desk, "ScaleWorker", model_name="m")) == "fine"


@pytest.mark.parametrize(
    ("error", "code"), [(ModelNotFound("m"), Code.NOT_FOUND), (AlreadyRegistered("m", "1"), Code.ALREADY_EXISTS)]
)
async def test_an_error_of_the_control_plane_is_the_status(error: Exception, code: Code) -> None:
    assert (await manage(Desk(control=FakeControlPlane(result=error)), "RegisterModel", url="a")).code == code


async def test_a_registration_goes_on_when_its_client_has_left() -> None:
    done = False

    async def slow() -> Outcome:
        nonlocal done
        done = True
        return Outcome("fine")

    desk = Desk(control=FakeControlPlane(result=slow()))
    call = desk.call(MANAGEMENT + "RegisterModel").say(message(f"{PACKAGE}.RegisterModelRequest")(url="a"))
    call.leave()
    await until(lambda: done)
    assert [entry.status for entry in desk.log] == [Code.CANCELLED]


@pytest.mark.parametrize(("apis", "here", "elsewhere"), [
    (["inference"], f"/{INFERENCE}.InferenceAPIsService/Ping", MANAGEMENT + "ListModels"),
    (["management"], MANAGEMENT + "ListModels", f"/{INFERENCE}.InferenceAPIsService/Ping"),
])  # fmt: skip
async def test_a_port_serves_its_own_methods_only(apis: list[str], here: str, elsewhere: str) -> None:
    desk = Desk(apis=apis)
    desk.control.result = {}
    assert desk.call(here).say(b"").code == Code.OK
    assert desk.call(elsewhere).say(b"").code == Code.UNIMPLEMENTED


class Keys:
    """Lets `k` call the inference API, and nobody anything else."""

    def check(self, scope: str, fields: Any) -> None:
        if scope != "open" and not (scope == "inference" and fields.get("authorization") == "Bearer k"):
            raise InvalidKey("Token Authorization failed.")


@pytest.mark.parametrize(
    ("path", "key", "code"),
    [
        (f"/{INFERENCE}.InferenceAPIsService/Predictions", "", Code.PERMISSION_DENIED),
        (f"/{INFERENCE}.InferenceAPIsService/Predictions", "Bearer x", Code.PERMISSION_DENIED),
        (f"/{INFERENCE}.InferenceAPIsService/Predictions", "Bearer k", None),
        (MANAGEMENT + "ListModels", "Bearer k", Code.PERMISSION_DENIED),
        (f"/{INFERENCE}.InferenceAPIsService/Ping", "", None),
        ("/grpc.health.v1.Health/Check", "", None),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "", None),
        ("/a.B/Nope", "", Code.PERMISSION_DENIED),
        ("/a.B/Nope", "Bearer k", Code.UNIMPLEMENTED),
    ],
)
async def test_which_calls_need_which_key(path: str, key: str, code: Code | None) -> None:
    desk = Desk(options={"token_auth": Keys()})
    call = desk.call(path, authorization=key)
    assert call.code == code
    call.leave()


# Service -> status, while all is well and while it is not.
HEALTH = [
    ("", 1, 2), ("m", 1, 2), (f"{INFERENCE}.InferenceAPIsService", 1, 2), ("grpc.health.v1.Health", 1, 2),
    ("x", None, None),
]  # fmt: skip


@pytest.mark.parametrize(("service", "well", "ill"), HEALTH)
async def test_the_health_of_the_server_its_services_and_its_models(
    service: str, well: int | None, ill: int | None
) -> None:
    for state, status in ((True, well), (False, ill)):
        desk = Desk(control=FakeControlPlane(well=state))
        call = desk.call("/grpc.health.v1.Health/Check").say(HealthRequest(service=service))
        assert call.code == (Code.NOT_FOUND if status is None else Code.OK)
        assert [each.status for each in call.messages(HealthResponse)] == ([] if status is None else [status])


async def test_a_watch_tells_of_each_change_and_of_the_end() -> None:
    desk = Desk(limits=Limits(health_look=0.005))
    call = desk.call("/grpc.health.v1.Health/Watch").say(HealthRequest(service="m"))

    def seen() -> list[int]:
        return [each.status for each in call.messages(HealthResponse)]

    assert seen() == [1]
    desk.control.well = False
    await until(lambda: seen() == [1, 2])
    desk.control.well = True
    await until(lambda: seen() == [1, 2, 1])
    desk.context.draining = True
    await until(lambda: call.code is not None)
    assert seen() == [1, 2, 1, 2]
    assert call.code == Code.UNAVAILABLE


async def test_a_watch_of_what_there_is_not_waits_for_it() -> None:
    call = Desk().call("/grpc.health.v1.Health/Watch").say(HealthRequest(service="x"))
    assert [each.status for each in call.messages(HealthResponse)] == [3]
    call.leave()


@pytest.mark.parametrize("package", ["grpc.reflection.v1", "grpc.reflection.v1alpha"])
async def test_reflection_tells_the_services_and_their_messages(package: str) -> None:
    ask, answer = (message(f"{package}.ServerReflection{kind}") for kind in ("Request", "Response"))
    desk = Desk(apis=["inference"])
    call = desk.call(f"/{package}.ServerReflection/ServerReflectionInfo")
    call.say(
        ask(list_services=""),
        ask(file_containing_symbol=f"{INFERENCE}.InferenceAPIsService"),
        ask(file_by_filename="inference.proto"),
        ask(file_containing_symbol="a.B"),
        ask(all_extension_numbers_of_type=f"{INFERENCE}.PredictionsRequest"),
        ask(file_containing_extension={"containing_type": "x", "extension_number": 1}),
        ask(host="h"),
    )
    listed, by_symbol, by_name, unknown, extensions, extension, nothing = call.messages(answer)
    assert call.code == Code.OK
    names = [each.name for each in listed.list_services_response.service]
    assert f"{INFERENCE}.InferenceAPIsService" in names
    assert f"{PACKAGE}.ManagementAPIsService" not in names
    assert {"grpc.health.v1.Health", f"{package}.ServerReflection"} <= set(names)
    files = {
        FileDescriptorProto.FromString(each).name for each in by_symbol.file_descriptor_response.file_descriptor_proto
    }
    assert files == {
        "inference.proto", "google/protobuf/empty.proto", "google/protobuf/any.proto", "google/rpc/status.proto",
    }  # fmt: skip
    assert by_name.file_descriptor_response == by_symbol.file_descriptor_response
    assert unknown.error_response.error_code == extension.error_response.error_code == Code.NOT_FOUND
    assert extensions.all_extension_numbers_response.base_type_name == f"{INFERENCE}.PredictionsRequest"
    assert nothing.error_response.error_code == Code.INVALID_ARGUMENT
    assert nothing.valid_host == "h"


OIP = "inference.GRPCInferenceService"


@pytest.mark.parametrize("option", [True, False])
async def test_the_open_inference_protocol_may_be_off(option: bool) -> None:
    desk = Desk(rpc={"open_inference": option})
    call = desk.call(f"/{OIP}/ServerLive").say(b"")
    assert call.code == (Code.OK if option else Code.UNIMPLEMENTED)


# RPC, its request, what the repository is asked for, its answer as plain data, and the message that this is.
READ: list[tuple[str, dict[str, Any], tuple[Any, ...], Any, dict[str, Any]]] = [
    ("ModelMetadata", {"name": "m", "version": "1.0"}, ("metadata", "m", "1.0"),
        {"name": "m", "versions": ["1.0"], "platform": "pytorch", "inputs": [{"name": "x", "shape": [-1, 3]}]},
        {"name": "m", "versions": ["1.0"], "platform": "pytorch", "inputs": [{"name": "x", "shape": ["-1", "3"]}]}),
    ("ModelConfig", {"name": "m"}, ("configuration", "m", None),
        {"name": "m", "max_batch_size": 4, "unheard_of": 1, "input": [{"name": "x", "data_type": "TYPE_FP32"}]},
        {"config": {"name": "m", "max_batch_size": 4, "input": [{"name": "x", "data_type": "TYPE_FP32"}]}}),
    ("ModelStatistics", {}, ("statistics", "", None),
        [{"name": "m", "inference_count": 2, "inference_stats": {"queue": {"count": 2, "ns": 5}}}],
        {"model_stats": [{"name": "m", "inference_count": "2", "inference_stats": {"queue": {"count": "2", "ns": "5"}}}]}),
    ("RepositoryIndex", {"ready": True}, ("index", True),
        [{"name": "m", "version": "1.0", "state": "READY", "reason": ""}],
        {"models": [{"name": "m", "version": "1.0", "state": "READY"}]}),
    ("RepositoryModelLoad", {"model_name": "n"}, ("load", "n"), None, {}),
    ("RepositoryModelUnload", {"model_name": "n"}, ("unload", "n"), None, {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fields", "asked", "plain", "told"), READ, ids=[row[0] for row in READ])
async def test_what_the_repository_says_is_a_message(
    name: str, fields: dict[str, Any], asked: tuple[Any, ...], plain: Any, told: dict[str, Any]
) -> None:
    desk = Desk(control=FakeControlPlane(result=plain))
    call = desk.call(f"/{OIP}/{name}").say(message(f"inference.{name}Request")(**fields))
    await until(lambda: call.code is not None)
    assert call.code == Code.OK
    (answer,) = call.messages(message(f"inference.{name}Response"))
    assert MessageToDict(answer, preserving_proto_field_name=True) == told
    assert desk.control.calls == [asked]


@pytest.mark.parametrize("name", ["RepositoryModelLoad", "RepositoryModelUnload"])
async def test_models_are_loaded_only_by_who_may_register_them(name: str) -> None:
    asked = message(f"inference.{name}Request")(model_name="n")
    locked = Desk(options={"model_api": False}).call(f"/{OIP}/{name}").say(asked)
    await until(lambda: locked.code is not None)
    assert locked.code == Code.PERMISSION_DENIED
    keyed = Desk(options={"token_auth": Keys()}).call(f"/{OIP}/{name}", authorization="Bearer k").say(asked)
    assert keyed.code == Code.PERMISSION_DENIED  # with the inference key
    assert Desk(reach="network", apis=["inference"]).call(f"/{OIP}/{name}").say(asked).code == Code.UNIMPLEMENTED


@pytest.mark.parametrize(("package", "code"), [
    ("inference", Code.OK), ("org.pytorch.serve.grpc.openinference", Code.NOT_FOUND),
])  # fmt: skip
async def test_a_model_that_there_is_not_is_not_ready_or_as_torchserve_says(package: str, code: Code) -> None:
    asked = message("inference.ModelReadyRequest")(name="x")
    call = Desk().call(f"/{package}.GRPCInferenceService/ModelReady").say(asked)
    assert call.code == code
