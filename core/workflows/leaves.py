"""joined(): makes the answer of a workflow with several leaves: a JSON object, leaf -> result, as TorchServe does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from ..errors import NodeFailed
from ..payload import Reply


def joined(workflow: str, leaves: Sequence[str], results: Mapping[str, Reply]) -> Reply:
    """Return the answer, its keys in the order of `leaves`. A result that is no JSON is text.

    Raises NodeFailed for a result that is no text either.
    """
    found: dict[str, Any] = {}
    for leaf in leaves:
        body = results[leaf].body
        try:
            found[leaf] = orjson.loads(body)
        except ValueError:
            found[leaf] = _text(workflow, leaf, body)
    body = orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return Reply(body, content_type="application/json")


def _text(workflow: str, leaf: str, body: object) -> str:
    try:
        return str(body, "utf-8")  # type: ignore[call-overload]
    except UnicodeDecodeError:
        raise NodeFailed(
            f"Error executing {leaf} of workflow {workflow}: its result is neither JSON nor text, so that it can't be"
            " joined with those of the other leaves. Give the leaves a node in common that follows them."
        ) from None
