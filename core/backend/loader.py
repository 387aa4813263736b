"""Finds a handler's entry point: the function `handle(data, context)` that is called for each batch."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ..handlers.context import Context
from ..handlers.left_out import HANDLERS as LEFT_OUT
from ..oip.signature import Signature
from .relative_imports import RelativeImports

EntryPoint = Callable[[Any, Context], Any]

_BUILTIN = "ts.torch_handler"


def load_entry_point(handler: str, context: Context, initialized: Callable[[], object] = lambda: None) -> EntryPoint:
    """Import `handler` from the model's folder, or a built-in of that name, and initialise it with the context.

    `initialized` is called once that is done, if the server then goes on to warm the model up.

    `handler` is `file`, `file.py`, `file:function`, `file.py:function`, a dotted module, or a built-in's name. A
    function is called once with data=None, a class's `initialize(context)` if it has one.
    Raises ValueError naming the handler and what was found, and whatever the handler raises.
    """
    file, _, function_name = handler.partition(":")
    module, builtin = _import_handler(file.removesuffix(".py"))
    function = getattr(module, function_name or "handle", None)
    if callable(function) and not inspect.isclass(function):
        function(None, context)
        return function
    service = _only_class(module, builtin=builtin, handler=handler)()
    initialize = getattr(service, "initialize", None)
    if initialize is not None:
        initialize(context)
    _settle(service, context, initialized)
    return service.handle


def _settle(service: Any, context: Context, initialized: Callable[[], object]) -> None:
    # Only a BaseHandler's attributes have this meaning; if its module is not loaded, the handler can't be one.
    base = sys.modules.get(f"{Context.__module__.rpartition('.')[0]}.base")
    if base is not None and isinstance(service, base.BaseHandler):
        initialized()
        service.settle(context)


def learn_signature(entry: EntryPoint) -> Signature | None:
    """Return what the model of a loaded handler tells of its tensors, None if it is another's than BaseHandler's."""
    base = sys.modules.get(f"{Context.__module__.rpartition('.')[0]}.base")
    service = getattr(entry, "__self__", None)
    if base is None or not isinstance(service, base.BaseHandler):
        return None
    from ..handlers.loading.signatures import signature_of

    return signature_of(service)


def add_model_path(model_dir: str, handler: str) -> None:
    """Make the model's folder the working one and the first to import from, then the handler's own folder in it.

    Its files may import each other by relative imports.
    """
    root = Path(model_dir).absolute()
    os.chdir(root)
    folder = root.joinpath(handler.partition(":")[0]).parent
    RelativeImports(root, folder if folder.is_relative_to(root) else root).install()
    for path in (str(folder), str(root)):
        if path in sys.path:
            sys.path.remove(path)
        sys.path.insert(0, path)


def _import_handler(name: str) -> tuple[ModuleType, bool]:
    module_name = Path(name).name
    if module_name.startswith(f"{_BUILTIN}."):
        _refuse_left_out(module_name)
    try:
        return importlib.import_module(module_name), False
    except ModuleNotFoundError as error:
        # A module that the handler itself imports in vain must not be reported as a missing handler.
        if error.name != module_name and not module_name.startswith(f"{error.name}."):
            raise
    _refuse_left_out(module_name)
    dotted = module_name if module_name.startswith("ts.") else f"{_BUILTIN}.{module_name}"
    try:
        return importlib.import_module(dotted), True
    except ModuleNotFoundError as error:
        if error.name != dotted:
            raise
    raise ValueError(f"handler {name!r} is neither a module in {Path.cwd()} nor a built-in handler")


def _refuse_left_out(module_name: str) -> None:
    reason = LEFT_OUT.get(module_name.removeprefix(f"{_BUILTIN}."))
    if reason is not None:
        raise ValueError(f"TorchServe's handler {module_name} is not part of this server: {reason}")


def _only_class(module: ModuleType, *, builtin: bool, handler: str) -> Any:
    classes = [value for value in vars(module).values() if inspect.isclass(value) and hasattr(value, "handle")]
    if builtin or module.__name__.startswith("ts."):
        return _default_handler(module, classes)
    own = sorted(
        {cls for cls in classes if cls.__module__ == module.__name__ and not inspect.isabstract(cls)},
        key=lambda cls: cls.__name__,
    )
    if len(own) != 1:
        raise ValueError(
            f"Expected only one class in custom service code or a function entry point: {module.__file__}"
            f" (handler {handler!r}) has {[cls.__name__ for cls in own]} with a handle(data, context)"
        )
    return own[0]


def _default_handler(module: ModuleType, classes: list[Any]) -> Any:
    # The modules of ts only re-export, so a class is found by the module's name: image_classifier, ImageClassifier.
    wanted = module.__name__.rpartition(".")[2].replace("_", "")
    for cls in classes:
        if cls.__name__.lower() == wanted:
            return cls
    raise ValueError(f"the built-in handler module {module.__name__} defines no handler class")
