"""Request envelopes (8.7)."""

from __future__ import annotations

from ..steps import Row, Setup
from .brief import ask, ready, standard

_JSON = "application/json"


def _one(envelope: str, *bodies: str) -> Setup:
    """The echo behind an envelope."""
    row: Row = standard(
        f"envelope {envelope}", "8.7", *(ask("/predictions/echo", body, _JSON) for body in bodies)
    )  # fmt: skip
    return Setup(
        f"envelope-{envelope}", (row,), models=("echo.mar",), before=ready("echo"),
        properties=f"service_envelope={envelope}\ndefault_workers_per_model=1\n",
    )  # fmt: skip


SETUPS = (
    _one("body", '{"a": 1}'),
    _one("json", '{"instances": [{"body": "one"}, {"body": "two"}]}'),
    _one("kserve", '{"instances": [{"body": "one"}, {"body": "two"}]}'),
    _one("kservev2", '{"id": "x", "inputs": [{"name": "n", "shape": [2], "datatype": "INT64", "data": [1, 2]}]}'),
)
