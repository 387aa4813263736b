"""Imports torchvision without torch's compiler, of which it needs nothing that most processes call.

`torchvision.ops` imports one function of `torch._dynamo`, which brings the compiler, sympy and torch.distributed: nine
tenths of torchvision's import, 1.8 s of processor time. The function is called for GPUs in deterministic mode only. So
while torchvision is imported a stand-in is there for that module. It imports the module itself as soon as the function
is called or anything else is asked of it, and is gone afterwards.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch  # first: what it imports of its own must not meet the stand-in


class StandIn(ModuleType):
    """A module that is imported under its name once something is asked of it, and the functions `later` once they are
    called.
    """

    def __init__(self, name: str, later: tuple[str, ...]) -> None:
        super().__init__(name)
        for each in later:
            setattr(self, each, _calling(name, each))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system asks for __path__
            raise AttributeError(name)
        self.leave()
        return getattr(importlib.import_module(self.__name__), name)

    def leave(self) -> None:
        """Have the module itself imported by whoever imports it next."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]


def _calling(module: str, function: str) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(module), function)(*args, **kwargs)

    call.__name__ = call.__qualname__ = function
    return call


@contextmanager
def standing_in(name: str, later: tuple[str, ...]) -> Iterator[None]:
    """Have a stand-in for the module `name` meanwhile, unless it or its package is imported already."""
    if name in sys.modules or name.rpartition(".")[0] in sys.modules:
        yield
        return
    # The package is not imported where its module is found: that is what this is for.
    made = sys.modules[name] = StandIn(name, later)
    try:
        yield
    finally:
        made.leave()


with standing_in("torch._dynamo.utils", ("is_compile_supported",)):
    from torchvision import transforms

__all__ = ("torch", "transforms")
