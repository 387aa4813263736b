"""PredictRequest: what the head of a prediction asks for. Many requests share one, so nothing of it may be changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...core.errors import ServeError, TooLarge
from ..app_context import AppContext
from ..message.request import Head, by_lower_name, check_percent
from ..site_policy import Reach
from .codecs.codec import Codec, HeadRead

SCOPE = "inference"  # the API that predictions belong to, and the key that they need where tokens are on
_NOTHING = HeadRead("", None)


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """`fields` are the head's headers by lower-case name; `read` is what `codec` has read in it.

    `refusal` is what is wrong with the head: the answer then, and the codec has read nothing.
    """

    head: Head
    fields: Mapping[str, str]
    codec: Codec
    read: HeadRead = _NOTHING
    refusal: ServeError | None = None

    @property
    def awaits_continue(self) -> bool:
        """Whether the client holds its body back until it is told to go on."""
        return awaits_continue(self.fields)


def read_request(
    context: AppContext, head: Head, reach: Reach, codec: Codec, params: Mapping[str, str]
) -> PredictRequest:
    """Read the head of a prediction whose route has this codec and these path parameters, not decoded."""
    fields = by_lower_name(head.headers())
    try:
        context.admit(head, SCOPE, reach)
        check_percent(head.path())
        check_declared(fields, context.limits.max_request_size)
        read = codec.read_head(head, fields, params, check_json=context.decode_input)
    except ServeError as error:
        return PredictRequest(head, fields, codec, refusal=error)
    return PredictRequest(head, fields, codec, read)


def check_declared(fields: Mapping[str, str], limit: int) -> None:
    """Raise TooLarge for a body that says it is over `limit` bytes, before any of it is read."""
    declared = fields.get("content-length")
    if declared is not None and declared.isdigit():
        check_size(int(declared), limit)


def check_size(size: int, limit: int) -> None:
    """Raise TooLarge for a body of `size` bytes that is over `limit` bytes."""
    if size > limit:
        raise TooLarge(f"The request body has {size} bytes and at most {limit} are accepted (max_request_size).")


def awaits_continue(fields: Mapping[str, str]) -> bool:
    """Return whether a client holds its body back until it is told to go on."""
    return fields.get("expect", "").lower() == "100-continue"
