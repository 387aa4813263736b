"""The gRPC services of each API, read from their .proto files as text: protobuf's library is not needed for that."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parents[1] / "rpc" / "protos"
_NAMES = ("inference.proto", "management.proto", "open_inference.proto", "health.proto", "reflection.proto")
PROTOS = {name: _FOLDER / name for name in _NAMES}
_COMMANDS = r"RepositoryModel(Load|Unload)"
_OIP, _REFLECTION = "inference.GRPCInferenceService", "grpc.reflection.v1.ServerReflection"
# For each API: the files, the service under another name than the file's, and which of its methods are served.
_ABOUT = (
    ("health.proto", "", ""),
    ("reflection.proto", _REFLECTION, ""),
    ("reflection.proto", "grpc.reflection.v1alpha.ServerReflection", ""),
)
_OF_API = {
    "inference": (
        ("inference.proto", "", ""),
        ("open_inference.proto", _OIP, ""),
        (
            "open_inference.proto",
            "org.pytorch.serve.grpc.openinference.GRPCInferenceService",
            rf"(?!{_COMMANDS}|SystemShared|CudaShared).*",
        ),
        *_ABOUT,
    ),
    "management": (("management.proto", "", ""), ("open_inference.proto", _OIP, _COMMANDS), *_ABOUT),
}
_SERVICE = re.compile(r"^service (\w+) \{(.*?)^\}", re.DOTALL | re.MULTILINE)
_METHOD = re.compile(r"rpc (\w+)\s*\((stream )?([\w.]+)\)\s*returns\s*\((stream )?([\w.]+)\)")


def grpc_services(apis: Collection[str]) -> list[dict[str, Any]]:
    """Return the services that a listener of these APIs serves by gRPC, with their methods and messages."""
    found: dict[str, dict[str, Any]] = {}
    for row in [row for api in sorted(apis) for row in _OF_API.get(api, ())]:
        service = _service(*row)
        known = found.setdefault(service["service"], service)
        if len(service["methods"]) > len(known["methods"]):
            found[service["service"]] = service
    return list(found.values())


@cache
def _service(file: str, name: str, served: str) -> dict[str, Any]:
    """Read the service of a file, under its own name if `name` is "", with all methods if `served` is ""."""
    text = PROTOS[file].read_text()
    package = re.search(r"^package ([\w.]+);", text, re.MULTILINE)
    found = _SERVICE.search(text)
    assert package is not None, file
    assert found is not None, file
    name = name or f"{package[1]}.{found[1]}"
    return {
        "service": name,
        "proto": file,
        "methods": [
            {
                "path": f"/{name}/{method}",
                "takes": takes,
                "takesStream": bool(in_stream),
                "returns": returns,
                "returnsStream": bool(out_stream),
            }
            for method, in_stream, takes, out_stream, returns in _METHOD.findall(found[2])
            if re.fullmatch(served or ".*", method)
        ],
    }
