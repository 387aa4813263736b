"""gRPC's standard server reflection, version 1 and its predecessor v1alpha, which most tools still ask first."""

from __future__ import annotations

from typing import Any

from ...core.payload import Body
from .answering import parse
from .backlog import Backlog
from .method import OpenCall
from .protos.messages import FileDescriptor, message, pool
from .status import Code

PACKAGES = ("grpc.reflection.v1", "grpc.reflection.v1alpha")


def service_of(package: str) -> str:
    """Return the name of the reflection service of a package."""
    return f"{package}.ServerReflection"


class Reflection:
    """The exchange of a call: each question gets one answer. `services` are the names of what a port serves."""

    __slots__ = ("_call", "_request", "_response", "_services", "_waiting")

    def __init__(self, call: OpenCall, package: str, services: tuple[str, ...]) -> None:
        self._call = call
        self._services = services
        self._request = message(f"{package}.ServerReflectionRequest")
        self._response = message(f"{package}.ServerReflectionResponse")
        self._waiting = Backlog(call)

    def message(self, data: Body) -> None:
        """Answer one question."""
        if self._waiting.keeps(data):
            return
        asked = parse(self._request, data)
        answer = self._response(valid_host=asked.host, original_request=asked)
        self._fill(answer, asked)
        self._call.send((answer.SerializeToString(),))

    def half_closed(self) -> None:
        """End the call."""
        self._call.finish()

    def cancelled(self) -> None:
        """Give up."""
        self._waiting.clear()

    def writable(self) -> None:
        """Go on with the questions that waited."""
        self._waiting.hand_on(self.message)

    def _fill(self, answer: Any, asked: Any) -> None:
        kind = asked.WhichOneof("message_request")
        try:
            if kind == "list_services":
                answer.list_services_response.SetInParent()
                for name in self._services:
                    answer.list_services_response.service.add(name=name)
            elif kind == "file_by_filename":
                _put(answer, pool.FindFileByName(asked.file_by_filename))
            elif kind == "file_containing_symbol":
                _put(answer, pool.FindFileContainingSymbol(asked.file_containing_symbol))
            elif kind == "all_extension_numbers_of_type":  # none of the messages has extensions
                name = pool.FindMessageTypeByName(asked.all_extension_numbers_of_type).full_name
                answer.all_extension_numbers_response.base_type_name = name
            elif kind == "file_containing_extension":
                raise KeyError("no message has extensions")
            else:
                _refuse(answer, Code.INVALID_ARGUMENT, "The request has no question that is known.")
        except (KeyError, ValueError, UnicodeError):
            _refuse(answer, Code.NOT_FOUND, "There is no such file, symbol or extension.")


def _put(answer: Any, file: FileDescriptor) -> None:
    """Put a file and all that it imports into an answer."""
    found: dict[str, FileDescriptor] = {}
    wanted = [file]
    while wanted:
        each = wanted.pop()
        if each.name not in found:
            found[each.name] = each
            wanted += each.dependencies
    answer.file_descriptor_response.file_descriptor_proto.extend(each.serialized_pb for each in found.values())


def _refuse(answer: Any, code: Code, text: str) -> None:
    answer.error_response.error_code = int(code)
    answer.error_response.error_message = text
