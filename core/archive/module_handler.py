"""A handler that is named as a module, `package.module` or `package.module:function`, instead of as a file."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Container
from importlib.machinery import PathFinder
from pathlib import Path

_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")


def is_module(name: str) -> bool:
    """Return whether `name` has the form of a module in a package."""
    return _DOTTED.fullmatch(name) is not None and not name.endswith(".py")


def package_of(module: str, packed: Container[str]) -> Path | None:
    """Return the folder of the working directory to pack for the handler `module`.

    None if the archive has the module by `packed`, the names of its files, or gets it from an installed package. Raises
    FileNotFoundError if the module is nowhere.
    """
    path = module.replace(".", "/")
    files = (f"{path}.py", f"{path}/__init__.py")
    if any(file in packed for file in files):
        return None
    if any(Path(file).is_file() for file in files) and not module.startswith("ts."):
        return Path(module.partition(".")[0])
    if _is_installed(module):
        return None
    raise FileNotFoundError(f"There is no file {files[0]} here or among the extra files, and no such package installed")


def _is_installed(module: str) -> bool:
    """Return whether Python finds the module. None of its packages is imported for that."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
        for part in rest:
            if spec is None or spec.submodule_search_locations is None:
                return False
            spec = PathFinder.find_spec(f"{spec.name}.{part}", spec.submodule_search_locations)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None
