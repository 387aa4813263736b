"""Which modules a worker imports before its model: read from its handler's text, which is not run.

A handler that imports torch, or a built-in one that does, gains from a process that has imported it. What is read
wrongly costs time, nothing else: a module that is not found is imported by the worker, one that is not needed is there
unused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..wire.fork_messages import PRELOADABLE

MOST_NAMES = 2000  # of modules in a model's folder; a folder with more is not compared
MOST_TEXT = 1 << 20  # bytes of a handler that are read
_IMPORT = re.compile(rb"^[ \t]*(?:from|import)[ \t]+([\w.]+)", re.MULTILINE)
_BUILT_IN = "ts.torch_handler"
_TORCH = ("torch", "torchvision", _BUILT_IN)


@dataclass(frozen=True, slots=True)
class Preloads:
    """The modules to import before a worker is forked, and the names of those that its model's folder has."""

    modules: tuple[str, ...]
    closed: tuple[str, ...]


def preloads(model_dir: str, handler: str) -> Preloads | None:
    """Return what the workers of the model in `model_dir` import, None if no preloading would help them.

    Blocks, for files are read.
    """
    root = Path(model_dir)
    file = handler.partition(":")[0].removesuffix(".py")
    source = root / f"{file}.py"
    try:
        with source.open("rb") as text:
            modules = preloadable(file, text.read(MOST_TEXT))
    except OSError:
        modules = preloadable(file, None)
    if not modules:
        return None
    names = _modules_in(root) | (_modules_in(source.parent) if source.parent != root else set[str]())
    return Preloads(modules, tuple(sorted(names))) if len(names) <= MOST_NAMES else None


def preloadable(file: str, text: bytes | None) -> tuple[str, ...]:
    """Return what the handler `file`, without .py, imports of PRELOADABLE, nothing if torch isn't part of it.

    `text` is None if the archive has no such file, so that the handler must be a built-in one.
    """
    if text is None:
        found = {f"{_BUILT_IN}.{file.removeprefix(f'{_BUILT_IN}.')}"}
    else:
        found = {match.decode() for match in _IMPORT.findall(text)}
    modules = tuple(name for name in PRELOADABLE if any(_covers(each, name) for each in found))
    return modules if any(name.startswith(_TORCH) for name in modules) else ()


def _covers(imported: str, name: str) -> bool:
    """Return whether a handler that imports `imported` needs the module `name`."""
    if name.startswith(_BUILT_IN):
        return imported == name
    return imported.partition(".")[0] == name


def _modules_in(folder: Path) -> set[str]:
    """Return the names that `import` would find in `folder`."""
    try:
        entries = list(folder.iterdir())
    except OSError:
        return set()
    named = (each.name.partition(".")[0] for each in entries if each.suffix in {".py", ".so", ""})
    return {name for name in named if name.isidentifier()}
