"""What the OpenAPI documents say of the routes of profiles. Data only."""

from __future__ import annotations

from ..routing.operation import TEXT, Operation, Parameter, Schema

_WORKER = Parameter("worker", "the worker's id; default: a busy one")
_SEEN: Schema = {
    "type": "object",
    "required": ["id", "name", "state"],
    "properties": {
        "id": TEXT, "name": TEXT, "state": TEXT, "busy": {"type": "boolean"}, "error": TEXT,
        "stacks": {"type": "array", "items": TEXT},
    },
}  # fmt: skip

PROFILE = Operation(
    "profileModel",
    "Record what a worker does while it goes on answering, as a trace in Chrome's format, compressed by gzip.",
    {200: None},
    errors=(400, 404, 409, 500, 503),
    query=(
        Parameter(
            "seconds", "how long at most, up to 60", {"type": "integer", "minimum": 1, "maximum": 60, "default": 10}
        ),
        _WORKER,
    ),
    method="POST",
    media="application/gzip",
)
OF_VERSION = PROFILE.of_version
STACKS = Operation(
    "describeStacks",
    "What each thread of the workers is doing now, whatever that is: its Python stack, the innermost call first.",
    {200: {"type": "object", "required": ["workers"], "properties": {"workers": {"type": "array", "items": _SEEN}}}},
    errors=(404,),
    query=(Parameter("worker", "the worker's id; default: all"),),
)
