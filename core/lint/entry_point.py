"""check_entry_point(): checks that a manifest's handler exists and can be called as the server calls it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from ..archive.handler_source import BUILT_IN, Function, HandlerSource, method
from .issue import ERROR, WARNING, Issue

_BUILT_IN = "ts.torch_handler."


def handler_file(root: Path, handler: str) -> Path:
    """Return the file in the model's folder `root` that a handler's name means, whether it is there or not."""
    file = handler.partition(":")[0]
    path = root / (file if file.endswith(".py") else f"{file}.py")
    module = root / file.replace(".", "/")
    dotted = (each for each in (module.with_name(f"{module.name}.py"), module / "__init__.py") if each.is_file())
    return path if path.is_file() else next(dotted, path)


def check_entry_point(handler: str, root: Path, *, asynchronous: bool) -> Iterator[Issue]:
    """Yield the issues of the handler's entry point; `asynchronous` is the yaml's asyncCommunication."""
    file, _, function = handler.partition(":")
    path = handler_file(root, handler)
    name = str(path.relative_to(root))
    if not path.is_file():
        if file.removeprefix(_BUILT_IN) not in BUILT_IN:
            text = f"handler {file!r} is neither a file of the archive nor one of {', '.join(BUILT_IN)}"
            yield Issue(ERROR, "MAR-INF/MANIFEST.json", 0, text)
        return
    try:
        source = HandlerSource.read(path)
    except (SyntaxError, ValueError):
        return  # its syntax error is reported with the other files
    wanted = function or "handle"
    found = source.function(wanted)
    if found is not None:
        yield from _called(found, 2, name, "(data, context)", asynchronous=asynchronous)
    elif function:
        if not source.binds(function):
            yield Issue(ERROR, name, 0, f"it has no function {function!r}, which the manifest names as the handler")
    elif not source.binds("handle"):
        yield from _class(source, name, asynchronous=asynchronous)


def _class(source: HandlerSource, name: str, *, asynchronous: bool) -> Iterator[Issue]:
    handlers = source.handlers()
    if len(handlers) > 1:
        names = ", ".join(cls.name for cls in handlers)
        text = f"several classes have a handle(data, context): {names}; the server takes the only one of a file"
        yield Issue(ERROR, name, handlers[1].lineno, text)
    elif not handlers:
        derived = [cls.name for cls in source.classes() if cls.bases]
        if derived:
            text = f"it can't be told by reading whether one of {', '.join(derived)} has a handle(data, context)"
            yield Issue(WARNING, name, 0, text)
        else:
            yield Issue(ERROR, name, 0, "no function handle(data, context), and no class that has one")
    for cls in handlers[:1]:
        for hook, given, shown in (("handle", 2, "(self, data, context)"), ("initialize", 1, "(self, context)")):
            found = method(cls, hook)
            if found is not None:
                count = given + (0 if _is_static(found) else 1)
                yield from _called(found, count, name, shown, asynchronous=asynchronous)


def _is_static(function: Function) -> bool:
    return any(isinstance(each, ast.Name) and each.id == "staticmethod" for each in function.decorator_list)


def _called(function: Function, count: int, name: str, shown: str, *, asynchronous: bool) -> Iterator[Issue]:
    arguments = function.args
    most = len(arguments.posonlyargs) + len(arguments.args)
    least = most - len(arguments.defaults)
    asked = sum(default is None for default in arguments.kw_defaults)
    if not least <= count <= (most if arguments.vararg is None else count) or asked:
        yield Issue(ERROR, name, function.lineno, f"{function.name} can't be called as {function.name}{shown}")
    if isinstance(function, ast.AsyncFunctionDef) and not (asynchronous and function.name == "handle"):
        text = f"async def {function.name} is not awaited"
        if function.name != "initialize":
            text += " without asyncCommunication: true in model-config.yaml"
        yield Issue(ERROR, name, function.lineno, text)
