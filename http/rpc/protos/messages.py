"""The message classes and service descriptors of the .proto files in this folder.

They are built at the first import, from descriptors and in a pool of their own: modules that protoc generates refuse to
be imported with an older protobuf than the generator's, and models' own environments, ONNX and TensorBoard pin many;
and a program that has other definitions of the same packages, as each client in the tests, keeps those.
"""

from __future__ import annotations

import base64
from typing import Any, TypeAlias

from google.protobuf import any_pb2, descriptor, empty_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from .descriptors import FILE_SET

ServiceDescriptor: TypeAlias = descriptor.ServiceDescriptor
FileDescriptor: TypeAlias = descriptor.FileDescriptor

# Packages that are served under a second name: the one that TorchServe gave it, and that of older reflection clients.
_ALIASES = {
    "inference": "org.pytorch.serve.grpc.openinference",
    "grpc.reflection.v1": "grpc.reflection.v1alpha",
}


Message: TypeAlias = Any  # an object of a class that `message` returns: its fields are attributes


def message(name: str) -> Any:
    """Return the class of a message by its full name."""
    return GetMessageClass(pool.FindMessageTypeByName(name))


def service(name: str) -> ServiceDescriptor:
    """Return the descriptor of a service by its full name."""
    return pool.FindServiceByName(name)


def _alias(original: FileDescriptorProto, package: str) -> FileDescriptorProto:
    """Return the descriptor of a file under another package."""
    file = FileDescriptorProto()
    file.CopyFrom(original)
    old, new = f".{file.package}.", f".{package}."
    file.name, file.package = f"{package}.proto", package
    messages = list(file.message_type)
    while messages:
        each = messages.pop()
        messages += each.nested_type
        for field in each.field:
            if field.type_name.startswith(old):
                field.type_name = new + field.type_name[len(old) :]
    for method in file.service[0].method:
        method.input_type = new + method.input_type[len(old) :]
        method.output_type = new + method.output_type[len(old) :]
    return file


def _filled() -> DescriptorPool:
    made = DescriptorPool()
    for module in (any_pb2, empty_pb2):
        made.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    for file in FileDescriptorSet.FromString(base64.b64decode(FILE_SET)).file:
        made.AddSerializedFile(file.SerializeToString())
        if file.package in _ALIASES:
            made.AddSerializedFile(_alias(file, _ALIASES[file.package]).SerializeToString())
    return made


pool = _filled()
