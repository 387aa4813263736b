"""WorkflowCodec: TorchServe's wire format for workflows, whose requests are those of models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from msgspec.structs import replace as with_fields

from ....core.payload import Reply
from ...message.request import Head
from .codec import HeadRead
from .torchserve import TorchServeCodec


def _as_json(reply: Reply) -> Reply:
    """Return `reply` with TorchServe's content type and phrase, if the handler has set none."""
    phrase = reply.phrase or ("OK" if reply.status == 200 else "")
    return with_fields(reply, content_type=reply.content_type or "application/json", phrase=phrase)


class WorkflowCodec(TorchServeCodec):
    """The codec of /wfpredict. An answer is JSON to its client unless the handler of its last node says otherwise."""

    encode = staticmethod(_as_json)

    def read_head(
        self, head: Head, fields: Mapping[str, str], params: Mapping[str, str], *, check_json: bool
    ) -> HeadRead:
        """Read what a head asks for. Raises BadRequest."""
        read = super().read_head(head, fields, {"model": params["workflow"]}, check_json=check_json)
        return replace(read, of_workflow=True)
