"""The committed descriptors are what protoc makes of the .proto files, and speak the wire of the clients in use."""

from __future__ import annotations

import base64
from typing import Any

import grpc_health.v1.health_pb2 as health
import grpc_reflection.v1alpha.reflection_pb2 as reflection
import pytest
import tritonclient.grpc.model_config_pb2 as triton_config
import tritonclient.grpc.service_pb2 as triton
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from torchserve.http.rpc.protos.descriptors import FILE_SET
from torchserve.http.rpc.protos.messages import message, pool, service

from .descriptors import compiled


def test_the_descriptors_are_those_of_the_proto_files() -> None:
    assert FileDescriptorSet.FromString(base64.b64decode(FILE_SET)) == compiled(), "run tests.http.rpc.descriptors"


def _kind(field: FieldDescriptor) -> tuple[Any, ...]:
    named = field.message_type or field.enum_type
    return field.name, field.type, field.is_repeated, named.name if named else ""


def _compare(ours: Descriptor, theirs: Descriptor, seen: set[str]) -> None:
    """Every field of ours has theirs' number, name and type."""
    if ours.full_name in seen:
        return
    seen.add(ours.full_name)
    for field in ours.fields:
        other = theirs.fields_by_number[field.number]
        assert _kind(field) == _kind(other), (ours.full_name, field.name)
        if field.message_type and not ours.file.name.startswith("google"):
            _compare(field.message_type, other.message_type, seen)
        if field.enum_type:
            assert {v.name: v.number for v in field.enum_type.values} == {
                v.name: v.number for v in other.enum_type.values
            }


@pytest.mark.parametrize(
    ("ours", "file"),
    [
        ("inference.GRPCInferenceService", triton.DESCRIPTOR),
        ("grpc.health.v1.Health", health.DESCRIPTOR),
        ("grpc.reflection.v1alpha.ServerReflection", reflection.DESCRIPTOR),
    ],
)
def test_the_messages_are_those_of_the_clients_in_use(ours: str, file: Any) -> None:
    assert triton_config.DESCRIPTOR
    found, seen = service(ours), set[str]()
    theirs = file.services_by_name[found.name]
    for method in found.methods:
        other = theirs.methods_by_name[method.name]
        assert (method.client_streaming, method.server_streaming) == (other.client_streaming, other.server_streaming)
        _compare(method.input_type, other.input_type, seen)
        _compare(method.output_type, other.output_type, seen)


# Section by section what TorchServe 0.12's services have: RPC, request, response, streams in, streams out.
INFERENCE = [
    ("Ping", "google.protobuf.Empty", "TorchServeHealthResponse", False, False),
    ("Predictions", "PredictionsRequest", "PredictionResponse", False, False),
    ("StreamPredictions", "PredictionsRequest", "PredictionResponse", False, True),
    ("StreamPredictions2", "PredictionsRequest", "PredictionResponse", True, True),
]
FIELDS = {
    "inference.PredictionsRequest": {"model_name": 1, "model_version": 2, "input": 3, "sequence_id": 4},
    "inference.PredictionResponse": {"prediction": 1, "sequence_id": 2, "status": 3},
    "inference.TorchServeHealthResponse": {"health": 1},
    "management.ManagementResponse": {"msg": 1},
    "management.DescribeModelRequest": {"model_name": 1, "model_version": 2, "customized": 3},
    "management.ListModelsRequest": {"limit": 1, "next_page_token": 2},
    "management.RegisterModelRequest": {
        "batch_size": 1, "handler": 2, "initial_workers": 3, "max_batch_delay": 4, "model_name": 5,
        "response_timeout": 6, "runtime": 7, "synchronous": 8, "url": 9, "s3_sse_kms": 10, "startup_timeout": 11,
    },
    "management.ScaleWorkerRequest": {
        "model_name": 1, "model_version": 2, "max_worker": 3, "min_worker": 4, "number_gpu": 5, "synchronous": 6,
        "timeout": 7,
    },
    "management.SetDefaultRequest": {"model_name": 1, "model_version": 2},
    "management.UnregisterModelRequest": {"model_name": 1, "model_version": 2},
}  # fmt: skip


def test_torchserve_s_services_have_its_methods_and_field_numbers() -> None:
    package = "org.pytorch.serve.grpc"
    found = service(f"{package}.inference.InferenceAPIsService")
    rows = [
        (each.name, each.input_type, each.output_type, each.client_streaming, each.server_streaming)
        for each in found.methods
    ]
    wanted = [
        (name, took if "." in took else f"{package}.inference.{took}", f"{package}.inference.{gave}", inward, outward)
        for name, took, gave, inward, outward in INFERENCE
    ]
    assert [(n, i.full_name, o.full_name, a, b) for n, i, o, a, b in rows] == wanted
    for name, fields in FIELDS.items():
        fields_of = pool.FindMessageTypeByName(f"{package}.{name}").fields
        assert {field.name: field.number for field in fields_of} == fields, name


def test_a_second_package_has_the_same_service_with_its_own_messages() -> None:
    first, second = (
        service(f"{package}.GRPCInferenceService") for package in ("inference", "org.pytorch.serve.grpc.openinference")
    )
    assert [each.name for each in first.methods] == [each.name for each in second.methods]
    for method in second.methods:
        assert method.input_type.full_name.startswith("org.pytorch.serve.grpc.openinference.")
        assert method.output_type.full_name.startswith("org.pytorch.serve.grpc.openinference.")
    one = message("inference.ModelInferRequest")(model_name="m", inputs=[{"name": "x", "shape": [1]}])
    other = message("org.pytorch.serve.grpc.openinference.ModelInferRequest").FromString(one.SerializeToString())
    assert other.inputs[0].name == "x"
