"""RegionTensors: the tensors of one request that lie in shared memory regions: inputs to read, outputs to write.

A front door takes the parameters of shared memory out of a request (`places_of`), opens the places once everything else
about the request is right, loads the inputs before it submits the request, and stores the outputs before it answers.
Whatever becomes of the request, `release` has to be called in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import msgspec

from ..errors import BadRequest, HandlerFailed
from ..payload import Body, Parameters, Payload, Reply
from .datatypes import check_bytes, check_raw, count_of
from .infer_answer import read_answer, reply_of
from .infer_request import REGION, InferRequest, Tensor
from .regions import MOST_BYTES, Region, Regions
from .rest import LENGTH_HEADER

STEP: Final = 1 << 20  # bytes that are read in a turn of the loop: 0.1 to 0.3 ms
OFFSET: Final = "shared_memory_offset"
SIZE: Final = "shared_memory_byte_size"


class Place(NamedTuple):
    """A part of a region, as a request names it."""

    told: str
    region: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Places:
    """The places of a request's tensors: those of inputs by index, those of outputs by name."""

    inputs: Mapping[int, Place]
    outputs: Mapping[str, Place]

    @property
    def size(self) -> int:
        """The bytes of all inputs."""
        return sum([place.size for place in self.inputs.values()])

    def open(self, regions: Regions, user: int) -> RegionTensors:
        """Return the places in the regions of a user. Raises BadRequest for those that are not there."""
        found: dict[str, Region] = {}
        for place in (*self.inputs.values(), *self.outputs.values()):
            region = found.setdefault(place.region, regions.get(user, place.told, place.region))
            region.check(place.told, place.offset, place.size)
        return RegionTensors(self, found)


def places_of(request: InferRequest) -> tuple[InferRequest, Places | None]:
    """Return the request without the parameters of shared memory, and the places that they name, None without any.

    An input of shared memory has no data yet, and is to have raw bytes. Raises BadRequest.
    """
    named = [each for each in (*request.inputs, *request.outputs) if REGION in each.parameters]
    if not named:
        return request, None
    inputs: dict[int, Place] = {}
    outputs: dict[str, Place] = {}
    tensors, wanted = list(request.inputs), list(request.outputs)
    for index, tensor in enumerate(tensors):
        if REGION in tensor.parameters:
            told = f"Input {tensor.name!r}"
            place, rest = _place(told, tensor.parameters)
            check_raw(told, tensor.datatype, tensor.shape, place.size)
            inputs[index] = place
            tensors[index] = msgspec.structs.replace(tensor, parameters=rest)
    for index, output in enumerate(wanted):
        if REGION in output.parameters:
            outputs[output.name], rest = _place(f"Output {output.name!r}", output.parameters)
            wanted[index] = msgspec.structs.replace(output, binary=True, parameters=rest)
    return replace(request, inputs=tuple(tensors), outputs=tuple(wanted)), Places(inputs, outputs)


def _place(told: str, parameters: Parameters) -> tuple[Place, Parameters]:
    rest = dict(parameters)
    region, offset, size = rest.pop(REGION), rest.pop(OFFSET, 0), rest.pop(SIZE, None)
    if not isinstance(region, str):
        raise BadRequest(f"{told}: {REGION} must be the name of a region, not {str(region)[:40]!r}.")
    if size is None:
        raise BadRequest(f"{told}: {REGION} needs {SIZE} beside it.")
    return Place(told, region, _number(told, OFFSET, offset), _number(told, SIZE, size)), rest


def _number(told: str, name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_BYTES:
        raise BadRequest(f"{told}: {name} must be a number of bytes, 0 to {MOST_BYTES}, not {str(value)[:40]!r}.")
    return value


@dataclass(slots=True)
class RegionTensors:
    """The places of a request's tensors in open regions, until the last `release`: one more than calls of `keep`."""

    places: Places
    _regions: Mapping[str, Region]
    _uses: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        for region in self._regions.values():
            region.used()

    def keep(self) -> None:
        """Have one more call of `release` end the use of the regions: a thread works on them."""
        self._uses += 1

    def release(self) -> None:
        """End the use of the regions, unless it goes on elsewhere."""
        self._uses -= 1
        if not self._uses:
            for region in self._regions.values():
                region.unused()

    def load(self, payload: Payload, room: Callable[[int], memoryview | None]) -> Generator[None, None, Payload]:
        """Return the steps that read the inputs; they end with the payload that has them.

        `room` returns the memory that an input of this size is best read into, or None. The steps raise BadRequest.
        """
        assert payload.infer is not None
        parts = list(payload.parts)
        for index, place in self.places.inputs.items():
            buffer = room(place.size) if place.size else None
            buffer = memoryview(bytearray(place.size)) if buffer is None else buffer
            region = self._regions[place.region]
            for at in range(0, place.size, STEP):
                if at:
                    yield
                region.read(place.told, buffer[at : at + STEP], place.offset + at)
            head = payload.infer.inputs[index]
            if head.datatype == "BYTES":
                yield from check_bytes(place.told, buffer, count_of(place.told, head.shape))
            parts[index] = msgspec.structs.replace(parts[index], body=buffer)
        return msgspec.structs.replace(payload, parts=tuple(parts))

    def store(self, reply: Reply) -> Reply:
        """Write the outputs to their places, and return the reply without them.

        A reply that failed is returned as it is. Raises BadRequest for an output that its place has no room for, before
        any is written, and for one whose region has lost its end; HandlerFailed for a reply that holds no tensors.
        """
        if not self.places.outputs or reply.status != 200:
            return reply
        answer = read_answer(reply)
        for each in answer.outputs:
            place = self.places.outputs.get(each.name)
            if place is not None and len(each.data) > place.size:
                raise BadRequest(
                    f"{place.told} has {len(each.data)} bytes, and the request gives it {place.size} of shared memory"
                    f" region {place.region!r} ({SIZE})."
                )
        outputs = tuple([self._stored(each) for each in answer.outputs])
        made = reply_of(msgspec.structs.replace(answer, outputs=outputs))
        kept = tuple([(name, value) for name, value in reply.headers if name != LENGTH_HEADER])
        return msgspec.structs.replace(made, phrase=reply.phrase, headers=(*kept, *made.headers))

    def _stored(self, output: Tensor) -> Tensor:
        place = self.places.outputs.get(output.name)
        if place is None:
            return output
        if output.json:
            raise HandlerFailed(f"{place.told} came without raw bytes for its shared memory region.", 500)
        self._regions[place.region].write(place.told, _view(output.data), place.offset)
        told: dict[str, Any] = {REGION: place.region, SIZE: len(output.data)}
        if place.offset:
            told[OFFSET] = place.offset
        return msgspec.structs.replace(output, data=b"", parameters={**output.parameters, **told})


def _view(data: Body) -> memoryview:
    return data if isinstance(data, memoryview) else memoryview(data)
