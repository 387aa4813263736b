"""Triton's shared memory methods, by gRPC: regions of system shared memory, and none of CUDA's.

They are for the clients of http/api/shared_memory.py, under its rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any, TypeAlias

from ...core.errors import BadRequest
from ...core.oip.regions import Regions
from ..api.shared_memory import NO_CUDA
from ..app_context import AppContext
from ..shared_memory import switched_on, user_of
from .answering import Answering, Endpoint
from .method import Exchange, Method, OpenCall
from .oip import SERVICE
from .protos.messages import Message, message, service

_Answer: TypeAlias = "Callable[[Regions, int, Any], Message]"


def methods(regions: Regions | None) -> list[Method]:
    """Return the rows of a port, of whose requests the tensors may lie in `regions`, if there are any."""
    system = {"Status": _status, "Register": _register, "Unregister": _unregister}
    cuda = {"Status": _no_cuda, "Register": _refuse_cuda, "Unregister": _no_cuda}
    return [
        *(_row(f"SystemSharedMemory{verb}", partial(_OfUser, regions, answer)) for verb, answer in system.items()),
        *(_row(f"CudaSharedMemory{verb}", lambda _call, answer=answer: answer) for verb, answer in cuda.items()),
    ]


def _row(name: str, endpoint_for: Callable[[OpenCall], Endpoint]) -> Method:
    request = message(service(SERVICE).methods_by_name[name].input_type.full_name)

    def begin(call: OpenCall) -> Exchange:
        return Answering(call, endpoint_for(call), request)

    return Method(SERVICE, name, "inference", begin, "inference")


class _OfUser:
    """The endpoint of one call, which `answer` answers for the user whose process has made the call."""

    def __init__(self, regions: Regions | None, answer: _Answer, call: OpenCall) -> None:
        self._regions = regions
        self._answer = answer
        self._call = call

    def __call__(self, _context: AppContext, asked: Any) -> Message:
        regions, call = switched_on(self._regions), self._call
        return self._answer(regions, user_of(call.peer, call.head.fields), asked)


def _status(regions: Regions, user: int, asked: Any) -> Message:
    made = message("inference.SystemSharedMemoryStatusResponse")()
    for each in regions.status(user, asked.name):
        region = made.regions[each.name]
        for name, value in asdict(each).items():
            setattr(region, name, value)
    return made


def _register(regions: Regions, user: int, asked: Any) -> Message:
    regions.register(user, asked.name, asked.key, asked.offset, asked.byte_size)
    return message("inference.SystemSharedMemoryRegisterResponse")()


def _unregister(regions: Regions, user: int, asked: Any) -> Message:
    regions.unregister(user, asked.name)
    return message("inference.SystemSharedMemoryUnregisterResponse")()


def _no_cuda(_context: AppContext, asked: Any) -> Message:
    """Answer that there are no regions, or that there is nothing to forget."""
    name = type(asked).DESCRIPTOR.full_name.removesuffix("Request")
    return message(f"{name}Response")()


def _refuse_cuda(_context: AppContext, _asked: Any) -> Message:
    """Answer that there can be no such region."""
    raise BadRequest(NO_CUDA)
