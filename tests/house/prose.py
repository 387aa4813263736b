"""Rules that are read off the source text and its syntax tree: clocks, sizes, words. Nothing is imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

from .tree import FOLDERS, python_files

FILE_LINES, FUNCTION_LINES, PARAMETERS = 400, 60, 6
_DRIVERS = {"scheduler/model_scheduler.py", "scheduler/virtual_time.py"}
_CLOCKS = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep", "now", "utcnow"}
_CLOCK_MODULES = {"time", "datetime", "date", "asyncio"}
_NAMELESS = {"utils", "util", "common", "helpers", "helper", "misc", "manager"}
_UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")


def clocks(root: Path) -> list[str]:
    """Clock reads and sleeps in files that take `now` as an argument."""
    found = []
    for file in python_files(root, "scheduler", "core/wire"):
        place = file.relative_to(root).as_posix()
        if place not in _DRIVERS:
            found += [f"{place}:{line}: {what}" for line, what in _clock_reads(parse(file))]
    return found


def _clock_reads(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module in _CLOCK_MODULES:
            yield from ((node.lineno, f"{node.module}.{a.name}") for a in node.names if a.name in _CLOCKS)
        elif isinstance(node, ast.Import):
            yield from (
                (node.lineno, f"import {a.name} as {a.asname}")
                for a in node.names
                if a.asname and a.name in _CLOCK_MODULES
            )
        elif isinstance(node, ast.Attribute) and node.attr in _CLOCKS:
            owner = ast.unparse(node.value)
            if owner.rpartition(".")[2] in {*_CLOCK_MODULES, "loop", "_loop"}:
                yield node.lineno, f"{owner}.{node.attr}"


def sizes(root: Path, folders: tuple[str, ...], excused: Mapping[str, str]) -> list[str]:
    """Files and functions over the walls, and excuses that nothing needs any more.

    `excused` maps `path` or `path:function` to a reason.
    """
    found = {}
    for file in python_files(root, *folders):
        place = file.relative_to(root).as_posix()
        found[place] = (len(file.read_text().splitlines()), FILE_LINES)
        for node in nodes(file):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                found[f"{place}:{node.name}"] = max(found.get(f"{place}:{node.name}", (0, 0)), (lines, FUNCTION_LINES))
    over = {name: f"{name}: {lines} lines, at most {wall}" for name, (lines, wall) in found.items() if lines > wall}
    return [text for name, text in over.items() if name not in excused] + [
        f"{name}: excused and within the wall: strike it off" for name in excused if name not in over
    ]


def parameters(root: Path, folders: tuple[str, ...], excused: Collection[str] = ()) -> list[str]:
    """Return the functions of more than PARAMETERS parameters, `self` and `cls` not counted.

    `excused` are files with TorchServe's own signatures.
    """
    found: list[str] = []
    for file in python_files(root, *folders):
        place = file.relative_to(root).as_posix()
        for node in nodes(file) if place not in excused else ():
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                count = sum(each.arg not in {"self", "cls"} for each in arguments)
                if count > PARAMETERS:
                    found.append(f"{place}:{node.name}: {count} parameters, at most {PARAMETERS}")
    return found


def names(root: Path) -> list[str]:
    """Modules and packages whose name says nothing. `ts/` keeps TorchServe's own names."""
    return [
        f"{path.relative_to(root).as_posix()}: a name that says nothing"
        for folder in (*FOLDERS, "benchmarks")
        if folder not in {"ts", "model_archiver", "workflow_archiver"}
        for path in sorted((root / folder).rglob("*"))
        if path.stem in _NAMELESS and (path.suffix == ".py" or path.is_dir())
    ]


def shadowed(root: Path) -> list[str]:
    """Modules beside a package of their name, which Python imports in their stead."""
    return [
        f"{file.relative_to(root).as_posix()}: never imported, the package {file.stem}/ is"
        for file in python_files(root, *FOLDERS, "benchmarks", "tests")
        if file.with_suffix("").joinpath("__init__.py").is_file()
    ]


def docstrings(root: Path) -> list[str]:
    """Modules without a docstring. It may be as long as the theory takes that a reader needs."""
    return [
        f"{file.relative_to(root).as_posix()}: no docstring"
        for file in python_files(root, *FOLDERS, "benchmarks")
        if not (ast.get_docstring(parse(file)) or "").strip()
    ]


def unfinished(root: Path, folders: tuple[str, ...]) -> list[str]:
    """Marks of unfinished work in any Python file, and stubs that raise instead of working."""
    found = []
    for file in python_files(root, *folders):
        place = file.relative_to(root).as_posix()
        for number, line in enumerate(file.read_text().splitlines(), start=1):
            if match := _UNFINISHED.search(line):
                found.append(f"{place}:{number}: {match[0]}")
        for node in nodes(file):
            if isinstance(node, ast.Raise) and node.exc and "NotImplementedError" in ast.unparse(node.exc):
                found.append(f"{place}:{node.lineno}: a stub")
    return found


def parse(file: Path) -> ast.Module:
    """Return the syntax tree of `file`."""
    return _parsed(file.read_text(), str(file))


def nodes(file: Path) -> tuple[ast.AST, ...]:
    """Return all nodes of the syntax tree of `file`."""
    return _nodes(parse(file))


@cache  # the rules read the same trees in turn
def _nodes(tree: ast.Module) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree))


@cache
def _parsed(text: str, name: str) -> ast.Module:
    return ast.parse(text, filename=name)
