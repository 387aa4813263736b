"""tritonclient's module for system shared memory, with a stand-in for the one function that it needs of old setuptools."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def triton_regions() -> Any:
    """Import and return `tritonclient.utils.shared_memory`, whose pkg_resources setuptools has no more since 82."""
    if find_spec("pkg_resources") is not None:
        return import_module("tritonclient.utils.shared_memory")
    stand_in: Any = ModuleType("pkg_resources")
    stand_in.resource_filename = lambda package, name: str(files(package) / name)
    sys.modules["pkg_resources"] = stand_in
    try:
        return import_module("tritonclient.utils.shared_memory")
    finally:
        del sys.modules["pkg_resources"]
