"""OipV2Codec: the Open Inference Protocol's infer, in JSON and in its binary form.

`/v2/models/{m}/infer` is TorchServe's route, too, where any body goes to the handler as it is. What a request there is
goes by its body: a JSON object with a list of `inputs`, or a body in the binary form, is of this protocol, anything
else TorchServe's. curl says of any body that it is a form: what begins as JSON is none. With a service_envelope, whose
handlers read JSON themselves, a request all in JSON is TorchServe's, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from ....core.errors import BadRequest
from ....core.oip.datatypes import check_bytes, count_of
from ....core.oip.infer_request import REGION, InferRequest, check, payload_of
from ....core.oip.region_tensors import places_of
from ....core.oip.regions import Regions
from ....core.oip.rest import (
    LENGTH_HEADER,
    READ_AT_ONCE,
    begins_as_json,
    is_infer_request,
    packed,
    read_document,
    split,
    wants_binary,
)
from ....core.payload import Body, Infer, Part, Payload, Reply
from ...message.body import URL_ENCODED, is_form
from ...message.deflate import coding_asked_for
from ...message.errors import oip_error
from ...message.inflate import Inflation, coding_of
from ...message.limits import Limits
from ...message.request import Head, by_lower_name, media_type
from ...shared_memory import opened
from .codec import Decoded, HeadRead, Steps
from .torchserve import TorchServeCodec

_READ_NOW: Final = 16 * 1024  # bytes of BYTES whose lengths are read at once
_MICROSECONDS: Final = 1e6


@dataclass(frozen=True, slots=True)
class _Detail:
    """The part of a head that says how its bodies are to be read.

    `head` and `fields` tell who may use which shared memory. `torchserve` is what TorchServe's codec has read. `length`
    is the JSON's length as the head says it, None if the body is all JSON. Whatever the body is, the request is of this
    protocol if `ours`, of TorchServe's if `theirs`, and of TorchServe's unless it begins as JSON if it is a `form`.
    """

    torchserve: HeadRead
    head: Head
    fields: Mapping[str, str]
    kind: str = ""
    length: str | None = None
    coding: str = ""
    ours: bool = False
    theirs: bool = False
    form: bool = False

    def gives_to_torchserve(self, body: Body) -> bool:
        """Return whether `body` is a request of TorchServe's, without a look at what is in its JSON."""
        return self.theirs or (self.form and not begins_as_json(body))


class OipV2Codec:
    """The codec of infer. With `shared` TorchServe's clients use the route as well, which `enveloped` favours.

    Tensors may lie in `regions` of shared memory, if there are any.
    """

    encode: Callable[[Reply], Reply] | None = None  # the worker has made the answer

    def __init__(self, *, shared: bool = False, enveloped: bool = False, regions: Regions | None = None) -> None:
        self._shared = shared
        self._enveloped = enveloped
        self._regions = regions
        self._torchserve = TorchServeCodec(explain="False")
        self._inflation = Inflation()

    def read_head(
        self, head: Head, fields: Mapping[str, str], params: Mapping[str, str], *, check_json: bool
    ) -> HeadRead:
        """Read what a head asks for. Raises BadRequest."""
        read = self._torchserve.read_head(head, fields, params, check_json=check_json)
        kind = media_type(fields.get("content-type", ""))
        length = fields.get(LENGTH_HEADER.lower())
        form = length is None and self._shared and kind == URL_ENCODED
        if length is None and self._shared and (kind.startswith("text/") or (is_form(kind) and not form)):
            return replace(read, detail=_Detail(read, head, fields, theirs=True))
        read = replace(read, coding=coding_asked_for(fields.get("accept-encoding", "")))
        coding = coding_of(fields.get("content-encoding", ""))
        ours = not self._shared or length is not None
        return replace(read, detail=_Detail(read, head, fields, kind, length, coding, ours=ours, form=form))

    def decode(self, read: HeadRead, body: Body, request_id: str, limits: Limits) -> Decoded | Steps:
        """Return the model that is named, and the payload that a whole body makes, or the steps to that if it is
        compressed or a large form. Raises BadRequest.
        """
        detail: _Detail = read.detail
        if detail.coding:
            return self._inflate(read, body, request_id, limits)
        return self._as_infer(read, body, request_id, limits) or self._torchserve.decode(
            detail.torchserve, body, request_id, limits
        )

    def error(self, error: BaseException) -> Reply:
        """Return the protocol's JSON object with the text under `error`; TorchServe's clients find their keys, too."""
        return oip_error(error, shared=self._shared)

    def broken_off(self, error: BaseException) -> bytes | None:
        """Return None: a streamed answer that broke off has no end, as in TorchServe."""
        return None

    def _inflate(self, read: HeadRead, body: Body, request_id: str, limits: Limits) -> Steps:
        detail: _Detail = read.detail
        plain = yield from self._inflation.inflate(body, detail.coding, limits.max_request_size)
        found = self._as_infer(read, plain, request_id, limits)
        # TorchServe hands compressed bodies on as they are.
        decoded = found or self._torchserve.decode(detail.torchserve, body, request_id, limits)
        return decoded if isinstance(decoded, tuple) else (yield from decoded)

    def _as_infer(self, read: HeadRead, body: Body, request_id: str, limits: Limits) -> Decoded | None:
        """Return the payload of a request of this protocol, None for one of TorchServe's. Raises BadRequest."""
        detail: _Detail = read.detail
        if detail.gives_to_torchserve(body):
            return None
        if detail.length is not None:
            return self._decoded(read, read_document(*split(body, detail.length)), body, request_id, limits)
        if len(body) > READ_AT_ONCE and (detail.ours or begins_as_json(body)):
            return self._left_to_the_worker(read, body, request_id)
        if not detail.ours and not is_infer_request(body):
            return None
        request = read_document(body)
        if self._enveloped and not detail.ours and not wants_binary(request):
            return None
        return self._decoded(read, request, body, request_id, limits)

    def _left_to_the_worker(self, read: HeadRead, body: Body, request_id: str) -> Decoded | None:
        """Return a payload whose JSON the worker reads, if it may be of this protocol."""
        detail: _Detail = read.detail
        if self._enveloped and not detail.ours:
            return None
        headers = _with_length(detail.torchserve.detail.headers, body)
        parts = (Part("body", detail.kind, body),)
        payload = Payload(request_id, parts, headers, read.timeout, read.priority, Infer(whole=True))
        return read.model, payload

    def _decoded(self, read: HeadRead, request: InferRequest, body: Body, request_id: str, limits: Limits) -> Decoded:
        check(request, shared_memory=True)
        for each in request.inputs:
            here = not each.json and REGION not in each.parameters
            if each.datatype == "BYTES" and here and len(each.data) <= _READ_NOW:
                told = f"Input {each.name!r}"
                for _ in check_bytes(told, each.data, count_of(told, each.shape)):
                    pass
        detail: _Detail = read.detail
        headers = _with_length(detail.torchserve.detail.headers, body)
        timeout = sooner(read.timeout, request.parameters.get("timeout"))
        request, places = places_of(packed(request))
        made = payload_of(request, request_id, headers, timeout=timeout, priority=read.priority)
        if places is None:
            return read.model, made
        most = limits.max_request_size
        return read.model, made, opened(places, self._regions, detail.head.peer, detail.fields, len(body), most)


def sooner(seconds: float | None, microseconds: object) -> float | None:
    """Return the sooner of two time limits; the second is a request's parameter `timeout`. Raises BadRequest."""
    if microseconds is None:
        return seconds
    if not isinstance(microseconds, int) or isinstance(microseconds, bool) or not 0 <= microseconds < 2**63:
        raise BadRequest(f"The parameter timeout must be microseconds, not {str(microseconds)[:40]!r}.")
    if not microseconds:
        return seconds
    return min(microseconds / _MICROSECONDS, seconds) if seconds is not None else microseconds / _MICROSECONDS


def _with_length(headers: dict[str, str], body: Body) -> dict[str, str]:
    return headers if "content-length" in by_lower_name(headers) else {**headers, "content-length": str(len(body))}
