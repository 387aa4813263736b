"""Functions that find classes: those of a module, and one by its dotted name."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType
from typing import Any


def list_classes_from_module(module: ModuleType, parent_class: type | None = None) -> list[type[Any]]:
    """Return the classes that `module` itself defines, sorted by name; with `parent_class`, only its subclasses."""
    return [
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if cls.__module__ == module.__name__ and (parent_class is None or issubclass(cls, parent_class))
    ]


def import_class(class_name: str, module_prefix: str | None = None) -> type[Any]:
    """Return the class with the dotted name `class_name`, below the module `module_prefix` if given. Raises
    ImportError.
    """
    module_name, _, name = class_name.rpartition(".")
    dotted = ".".join(part for part in (module_prefix, module_name) if part)
    if not dotted:
        raise ImportError(f"class {class_name!r} has no module name")
    found = getattr(importlib.import_module(dotted), name, None)
    if found is None:
        raise ImportError(f"class:{name} not found in module:{dotted}.")
    return found
