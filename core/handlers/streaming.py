"""The function with which a handler sends a chunk to each request of a batch before it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .context import Context


def send_intermediate_predict_response(
    ret: Sequence[Any],
    req_id_map: Mapping[int, str] | None,  # noqa: ARG001  TorchServe's signature
    message: str,  # noqa: ARG001  TorchServe's signature
    code: int,
    context: Context | None = None,
) -> None:
    """Send `ret`, one element for each request of the batch, with status `code`. What the handler returns is the last
    chunk.

    Raises ValueError for a list of the wrong length, for an element that can't be sent, and outside of a batch.
    """
    if context is None or context.send_partial is None:
        raise ValueError("send_intermediate_predict_response needs the context that a running batch was given")
    context.send_partial(ret, code)
