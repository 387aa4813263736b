"""The OpenAPI documents (4.9)."""

from __future__ import annotations

from ..steps import Call, Outline, Row, Setup
from .brief import ask, core, manage, standard


def _options(face: str, path: str) -> Outline:
    return Outline(Call(face, "OPTIONS", path))


ROWS: tuple[Row, ...] = (
    core("OpenAPI of inference", "4.9", _options("inference", "/")),
    core("OpenAPI of management", "4.9", _options("management", "/")),
    core("OpenAPI of metrics", "4.9", _options("metrics", "/")),
    core("api-description of inference", "4.9", Outline(ask("/api-description", method="GET"))),
    core("api-description of management", "4.9", Outline(manage("GET", "/api-description"))),
    standard("OpenAPI of one model", "4.9", _options("inference", "/predictions/echo")),
    standard("OpenAPI of one managed model", "4.9", _options("management", "/models/echo")),
    standard("OpenAPI of an unknown model", "4.9", Call("inference", "OPTIONS", "/predictions/nobody")),
)

SETUPS = (Setup("documents", ROWS, models=("echo.mar",), properties="default_workers_per_model=1\n"),)
