"""InferRequest: a request of the Open Inference Protocol, whichever front door has read it; and its way to a model.

A front door fills it, calls `check`, and submits `payload_of` to the dataplane. The reply's body is an answer in the
binary form of the protocol's REST half, which `infer_answer.read_answer` takes apart.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

import msgspec

from ..errors import BadRequest
from ..payload import Body, Infer, Parameters, Part, Payload, TensorHead, WantedOutput
from .datatypes import check_raw, count_of, size_of

MOST_TENSORS: Final = 256  # inputs of a request, and outputs that it may name
LONGEST_NAME: Final = 256  # characters of the name of a tensor, and of the id of a request
MOST_PARAMETERS: Final = 64  # of a request, and of each of its tensors
REGION: Final = "shared_memory_region"  # the parameter of a tensor that lies in shared memory


class Tensor(msgspec.Struct, frozen=True):
    """A tensor. `data` is its raw bytes as datatypes.py has them or, with `json`, a JSON list of its values."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Body
    json: bool = False
    parameters: Parameters = {}

    @property
    def head(self) -> TensorHead:
        """The tensor without its elements."""
        return TensorHead(self.name, self.datatype, self.shape, self.json, self.parameters)


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request. `outputs` are those that the client wants, all if empty: in binary form if `binary`.

    A front door that has no JSON sets `binary`, and each wanted output's own.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[WantedOutput, ...] = ()
    binary: bool = False
    id: str = ""
    parameters: Parameters = field(default_factory=dict[str, "bool | int | float | str"])


def check(request: InferRequest, *, shared_memory: bool = False) -> None:
    """Raise BadRequest for a request that no model could take. Tensors in shared memory are read before, unless
    `shared_memory`.

    The lengths within a tensor of BYTES are not read here: `datatypes.check_bytes` does that in steps, and the worker
    does it in any case.
    """
    _check_names("inputs", [each.name for each in request.inputs])
    _check_names("outputs", [each.name for each in request.outputs])
    if not request.inputs:
        raise BadRequest("The request has no inputs.")
    if len(request.id) > LONGEST_NAME:
        raise BadRequest(f"The id has {len(request.id)} characters and at most {LONGEST_NAME} are accepted.")
    _check_parameters("The request", request.parameters)
    for each in request.inputs:
        told = f"Input {each.name!r}"
        _check_parameters(told, each.parameters)
        if REGION in each.parameters:
            _check_region(told, each, allowed=shared_memory)
        elif each.json:
            size_of(told, each.datatype)
            count_of(told, each.shape)
        else:
            check_raw(told, each.datatype, each.shape, len(each.data))
    for each in request.outputs:
        _check_parameters(f"Output {each.name!r}", each.parameters)
        if REGION in each.parameters and not shared_memory:
            raise _unreadable(f"Output {each.name!r}")
        if "classification" in each.parameters:
            raise BadRequest(f"Output {each.name!r}: the classification extension is not supported.")


def _check_region(told: str, tensor: Tensor, *, allowed: bool) -> None:
    if not allowed:
        raise _unreadable(told)
    if tensor.json or len(tensor.data):
        raise BadRequest(f"{told} has both data and the parameter {REGION}: send one of them.")


def _unreadable(told: str) -> BadRequest:
    """Return the error for a request that the front end has not read: its JSON is too long."""
    return BadRequest(
        f"{told} is in shared memory, and the values of others make the JSON of this request long: send those in binary"
        " form, or leave them in shared memory, too."
    )


def payload_of(
    request: InferRequest,
    request_id: str,
    headers: dict[str, str] | None = None,
    *,
    timeout: float | None = None,
    priority: int = 0,
) -> Payload:
    """Return the payload for the dataplane, whose parts are the tensors' bytes, not copied.

    `headers` are those that the handler may ask its context for.
    """
    parts = tuple([Part(each.name, "", each.data) for each in request.inputs])
    return Payload(request_id, parts, headers or {}, timeout, priority, infer_of(request))


def infer_of(request: InferRequest) -> Infer:
    """Return what a request says beside the elements of its tensors."""
    heads = tuple([each.head for each in request.inputs])
    return Infer(heads, request.outputs, request.binary, request.id, request.parameters)


def _check_names(what: str, names: Collection[str]) -> None:
    if len(names) > MOST_TENSORS:
        raise BadRequest(f"The request has {len(names)} {what} and at most {MOST_TENSORS} are accepted.")
    if len(set(names)) < len(names):
        twice = next(name for index, name in enumerate(list(names)) if name in list(names)[:index])
        raise BadRequest(f"Two of the request's {what} have the name {twice[:LONGEST_NAME]!r}.")
    for name in names:
        if not 0 < len(name) <= LONGEST_NAME:
            raise BadRequest(
                f"One of the {what} has a name of {len(name)} characters; 1 to {LONGEST_NAME} are accepted."
            )


def _check_parameters(what: str, parameters: Parameters) -> None:
    if len(parameters) > MOST_PARAMETERS:
        raise BadRequest(f"{what} has {len(parameters)} parameters and at most {MOST_PARAMETERS} are accepted.")
