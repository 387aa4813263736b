"""Who may import whom, as one table, and the check of a tree against it (direct imports, type-only ones included).

A module goes by the longest row that is a prefix of its name. A module of core without a row is itself a violation.
Whoever adds a room adds its row, and the row says which way the arrows go.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from .tree import FOLDERS, child, importable, module_name, python_files


@dataclass(frozen=True, slots=True)
class Row:
    """What a room may import: `ours` are prefixes of our modules, `outside` top-level names beside the standard library."""

    ours: frozenset[str] = frozenset()
    outside: frozenset[str] = frozenset()


def _row(ours: str = "", outside: str = "") -> Row:
    return Row(frozenset(ours.split()), frozenset(outside.split()))


_BASE = (
    "core.errors core.payload core.version core.trusted_file core.record_sinks core.bounded_yaml core.bounded_match core.model_name"
    " core.container_limits core.pidfd core.process_stacks core.user_folders"
)
_SHELF = (
    f"{_BASE} core.oip core.config core.archive core.metrics core.wire core.logs core.payload_log core.tokens core.tracing core.workdir"
    " scheduler"
)
_WORKERS = f"{_SHELF} core.gpus core.workers"
_MODELS = f"{_WORKERS} core.models"
_PLANES = f"{_MODELS} core.describe core.dataplane core.limited_dataplane core.registration core.controlplane"
_MEETING = f"{_BASE} core.oip core.wire core.config.model_options core.config.padded_sizes core.config.speed_options core.config.envelope_names core.archive.manifest core.metrics.spec"
_PLAIN = "yaml psutil msgspec orjson uvloop javaproperties"
_HANDLING = "onnxruntime torch torchvision numpy PIL simplejpeg captum transformers safetensors yaml orjson msgspec psutil packaging"

TABLE: dict[str, Row] = {
    "scheduler": _row(),
    "scheduler.devices": _row(outside="pynvml"),
    "kernels": _row(outside="torch torchvision triton numpy PIL"),
    "core": _row(),
    "core.errors": _row(),
    "core.payload": _row("core.errors", "msgspec"),
    "core.version": _row(),
    "core.trusted_file": _row(),
    "core.record_sinks": _row("core.trusted_file"),
    "core.bounded_match": _row(),
    "core.model_name": _row("core.errors"),
    "core.container_limits": _row(),
    "core.interpreter_build": _row(),
    "core.pidfd": _row(),
    "core.process_stacks": _row("core.pidfd"),
    "core.user_folders": _row(),
    "core.bounded_yaml": _row(outside="yaml"),
    "core.tokens": _row(_BASE),
    "core.key_file": _row(_BASE),
    "core.logs": _row(_BASE, _PLAIN),
    "core.workdir": _row(_BASE, _PLAIN),
    "core.tracing": _row(_BASE, "msgspec orjson"),
    "core.tracing.otlp": _row("core.version core.tracing", "opentelemetry orjson"),
    "core.tracing.collectors": _row(_BASE, "grpc"),
    "core.payload_log": _row(f"{_BASE} core.payload_log scheduler", "orjson"),
    "core.config": _row(f"{_BASE} core.oip", _PLAIN),
    "core.archive": _row(_BASE, _PLAIN),
    "core.archive.s3": _row(_BASE, "boto3 botocore"),
    "core.archive.signatures": _row(_BASE, "model_signing"),
    "core.wire": _row(f"{_BASE} core.oip", "msgspec"),
    "core.oip": _row(_BASE, "msgspec"),
    "core.metrics": _row(f"{_BASE} scheduler core.wire.messages", _PLAIN),
    "core.metrics.spec": _row(_BASE, "yaml"),
    "core.gpus": _row(_SHELF, _PLAIN),
    "core.workers": _row(f"{_SHELF} core.gpus", _PLAIN),
    "core.workers.remote.one_time_keys": _row("core.errors", "cryptography"),
    "core.workers.spawn_ray": _row("core.workers.spawn_ray", "ray"),
    "core.models": _row(_WORKERS, _PLAIN),
    "core.models.answer_store": _row("core.models.circuit_breaker", "redis"),
    "core.dataplane": _row(f"{_MODELS} core.ticket core.cached_requests", _PLAIN),
    "core.background": _row("core.errors"),
    "core.limited_dataplane": _row(f"{_MODELS} core.ticket core.dataplane", _PLAIN),
    "core.model_calls": _row(f"{_MODELS} core.ticket core.dataplane core.call_cycle", _PLAIN),
    "core.call_cycle": _row(),
    "core.ticket": _row(_MODELS, _PLAIN),
    "core.cached_requests": _row(f"{_MODELS} core.ticket", _PLAIN),
    "core.traffic_control": _row(_MODELS, _PLAIN),
    "core.describe": _row(_MODELS, _PLAIN),
    "core.profiles": _row(_MODELS, _PLAIN),
    "core.repository": _row(f"{_MODELS} core.registration", _PLAIN),
    "core.registration": _row(_MODELS, _PLAIN),
    "core.removals": _row(f"{_MODELS} core.traffic_control"),
    "core.controlplane": _row(
        f"{_MODELS} core.describe core.registration core.repository core.profiles core.removals core.background core.traffic_control",
        _PLAIN,
    ),
    "core.lint": _row(f"{_BASE} core.archive core.config", _PLAIN),
    "core.overview": _row(f"{_MODELS} core.describe core.rates core.recent_rows", _PLAIN),
    "core.recent_rows": _row(),
    "core.rates": _row(),
    "core.workflows": _row(_PLANES, _PLAIN),
    "core.server": _row(f"{_PLANES} core.model_calls core.overview core.workflows", _PLAIN),
    "core.generation": _row(outside="msgspec orjson"),
    "core.generation.grammar": _row("core.generation", "llguidance orjson"),
    "core.generation.child_engine": _row("core.generation"),
    "core.generation.hf_engine": _row("core.generation", "transformers"),
    "core.generation.hf_model": _row("core.generation", "transformers"),
    "core.generation.hf_sampler": _row("core.generation", "torch"),
    "core.handlers": _row(f"{_MEETING} core.generation kernels", _HANDLING),
    "core.handlers.child_engine": _row(
        f"{_MEETING} core.generation core.handlers core.tracing.trace_parent", _HANDLING
    ),
    "core.handlers.metrics": _row("core.errors core.metrics.spec core.wire.messages", "psutil yaml"),
    "core.backend": _row(f"{_MEETING} core.handlers kernels", _HANDLING),
    "http": _row(
        f"{_BASE} core.oip core.config.address core.tokens core.key_file core.dataplane core.registration core.controlplane core.metrics.store core.overview core.server core.tracing.request_trace core.tracing.trace_parent core.tracing.tracer core.workflows",
        "aiohttp google hpack multidict yarl orjson msgspec",
    ),
    "http.transport.tls": _row("core.errors", "cryptography"),
    "cli": _row(
        f"{_BASE} core.workers.early_fork_server core.server core.config core.archive core.lint core.logs core.models.snapshot_folder http.auth http.cors http.front http.message.limits http.message.sequence_headers"
        " http.front_config http.rpc.application http.rpc.protos.messages http.transport.cert_reload http.routing.route http.site_policy http.transport.tls"
        " core.oip core.rates core.interpreter_build",
        "click rich uvloop google",
    ),
    "cli.loadgen": _row(
        "core.config.address http.transport.http2.errors http.transport.http2.frames http.transport.http2.header_block",
        "uvloop hpack",
    ),
    "cli.tokenload": _row("cli.loadgen"),
    "cli.launcher": _row("core.config.properties", "requests"),
    "ts": _row("core.handlers core.metrics core.backend core.version", "torch"),
    "ts.launcher": _row("cli.launcher"),  # it and the next are for scripts and tests, not for handlers
    "ts.llm_launcher": _row("cli.llm_launcher core.handlers.left_out"),
    "ts.model_server": _row("cli.launcher cli.program cli.process_name"),
    "ts.arg_parser": _row("cli.export_utils"),
    "model_archiver": _row("cli.packaging cli.export_utils cli.manifest_objects core.version"),
    "workflow_archiver": _row("cli.workflow_packaging cli.manifest_objects core.version"),
}

_GRAPH = """
import json, sys
import grimp
graph = grimp.build_graph(*sys.argv[1:], include_external_packages=True, cache_dir=None)
json.dump([
    {"importer": importer, "imported": imported, "line": detail["line_number"], "code": detail["line_contents"]}
    for importer in sorted(graph.modules)
    for imported in sorted(graph.find_modules_directly_imported_by(importer))
    for detail in graph.get_import_details(importer=importer, imported=imported)
], sys.stdout)
"""


class Import(TypedDict):
    """One import statement of a tree."""

    importer: str
    imported: str
    line: int
    code: str


def imports(root: Path, scratch: Path) -> list[Import]:
    """Return every import in the product's folders at `root`, type-only ones included; `scratch` is an empty folder."""
    roots = [name for folder, name in FOLDERS.items() if any((root / folder).rglob("*.py"))]
    return json.loads(child(_GRAPH, *roots, path=importable(root, scratch)))


def violations(root: Path, graph: list[Import]) -> list[str]:
    """Return every import that the table doesn't allow, with its line, and the rooms of core without a row."""
    found = {f"{e['importer']}:{e['line']}: {why}: {e['code']}" for e in graph if (why := _wrong(**e))}
    return sorted(found | _without_row(root))


def stale_rows(root: Path) -> list[str]:
    """Return the rows, and the rows' own entries, that name no module of the tree at `root`."""
    known = {_short(module_name(root, file)) for file in python_files(root, *FOLDERS)} | set(FOLDERS)
    gone = [f"{room}: is no module" for room in TABLE if room not in known]
    return gone + [
        f"{room}: may import {name}, which is no module"
        for room, row in TABLE.items()
        for name in sorted(row.ours)
        if name not in known
    ]


def circles(graph: list[Import]) -> list[str]:
    """Return the import circles between modules, and those between the folders below a top-level folder.

    A module that lies in a top-level folder itself (`core.errors`) counts alone among the folders.
    """
    pairs = {(_short(e["importer"]), _short(e["imported"])) for e in graph if _is_ours(e["imported"])}
    folders = {(_folder(importer), _folder(imported)) for importer, imported in pairs}
    found = (*_circles(pairs), *_circles(folders))
    return [" -> ".join((*circle, circle[0])) for circle in dict.fromkeys(found)]


def _is_ours(name: str) -> bool:
    return name.startswith(tuple(f"{root}." for root in FOLDERS.values()))


def _folder(name: str) -> str:
    return ".".join(name.split(".")[:2])


def _circles(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Return a shortest circle through each node that is in one, but for nodes that an earlier circle went through."""
    graph: dict[str, set[str]] = {}
    for importer, imported in pairs:
        graph.setdefault(importer, set()).add(imported)
    found: list[tuple[str, ...]] = []
    for start in sorted(graph):
        if any(start in circle for circle in found):
            continue
        way = _way_back(graph, start)
        if way:
            found.append(way)
    return found


def _way_back(graph: Mapping[str, set[str]], start: str) -> tuple[str, ...] | None:
    """Return the shortest walk from `start` that leads back to it, or None."""
    before = {start: ""}
    waiting = deque([start])
    while waiting:
        node = waiting.popleft()
        for following in sorted(graph.get(node, ())):
            if following == start and node != start:
                way = [node]
                while before[way[-1]]:
                    way.append(before[way[-1]])
                return tuple(reversed(way))
            if following not in before:
                before[following] = node
                waiting.append(following)
    return None


def _without_row(root: Path) -> set[str]:
    rooms = {path.stem for path in (root / "core").iterdir() if path.suffix == ".py" or any(path.glob("*.py"))}
    return {f"core.{room}: has no row in the table" for room in rooms - {"__init__"} if f"core.{room}" not in TABLE}


def _wrong(importer: str, imported: str, line: int, code: str) -> str | None:
    del line, code
    room = row_of(_short(importer))
    if room is None:
        return None
    row, target = TABLE[room], _short(imported)
    if imported.startswith(tuple(FOLDERS.values())) and row_of(target) is not None:
        allowed = any(_below(target, prefix) for prefix in (room, *_siblings(room), *row.ours))
        return None if allowed else f"{room} may not import {target}"
    top = imported.partition(".")[0]
    allowed = top in sys.stdlib_module_names or top == "_typeshed" or top in row.outside
    return None if allowed else f"{room} may not import {top} from outside"


def _siblings(room: str) -> tuple[str, ...]:
    """A row for one file of a package narrows what it takes from elsewhere, not what it takes from its own package."""
    parent = room.rpartition(".")[0]
    return (parent,) if parent in TABLE and parent != "core" and parent != "core.metrics" else ()


def row_of(name: str) -> str | None:
    """The table's row for a module: its longest prefix."""
    while name and name not in TABLE:
        name = name.rpartition(".")[0]
    return name or None


def _below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def _short(name: str) -> str:
    return name.removeprefix("torchserve.")
