"""HandlerSource: what a handler's file defines: its functions, and the classes that can be handlers. It is parsed,
never run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BUILT_IN = (
    "base_handler",
    "image_classifier",
    "image_segmenter",
    "object_detector",
    "text_classifier",
    "language_model",
    "text_embedder",
    "child_engine",
    "vllm_handler",
    "trt_llm_handler",
)
# The built-in handlers whose model an engine serves that is a process of its own: they get bodies as they came.
ENGINES = frozenset(("child_engine", "vllm_handler", "trt_llm_handler"))
WEIGHTS_ELSEWHERE = frozenset(("language_model", "text_embedder")) | ENGINES  # their yaml names the weights
ASYNCHRONOUS = frozenset(("language_model",)) | ENGINES  # those that need asyncCommunication, and imply it
_BASES = frozenset({
    "BaseHandler", "VisionHandler", "ImageClassifier", "ImageSegmenter", "ObjectDetector", "TextHandler",
    "TextClassifier", "BaseDeepSpeedHandler",
})  # fmt: skip


Function = ast.FunctionDef | ast.AsyncFunctionDef


def built_in_name(handler: str) -> str:
    """Return the name of a built-in handler without TorchServe's package, any other handler as it is."""
    return handler.removeprefix("ts.torch_handler.")


@dataclass(frozen=True, slots=True)
class HandlerSource:
    """A parsed Python file."""

    tree: ast.Module

    @classmethod
    def read(cls, path: Path) -> HandlerSource:
        """Parse the file at `path`. Raises SyntaxError, ValueError (null bytes) and OSError."""
        return cls(ast.parse(path.read_bytes(), str(path)))

    def function(self, name: str) -> Function | None:
        """Return the module's function of this name, None if there is none."""
        return next((each for each in self.tree.body if isinstance(each, Function) and each.name == name), None)

    def binds(self, name: str) -> bool:
        """Return whether the module binds `name` other than by defining a function or class."""
        return any(name in _bound(node) for node in self.tree.body)

    def handlers(self) -> list[ast.ClassDef]:
        """Return the classes that have a `handle`: their own, or one of a base class known to have it."""
        found: dict[str, ast.ClassDef] = {}
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef) and (
                method(node, "handle") is not None or any(_last(base) in _BASES | found.keys() for base in node.bases)
            ):
                found[node.name] = node
        return list(found.values())

    def classes(self) -> list[ast.ClassDef]:
        return [node for node in self.tree.body if isinstance(node, ast.ClassDef)]

    def has_entry_point(self) -> bool:
        return self.function("handle") is not None or len(self.handlers()) == 1


def method(cls: ast.ClassDef, name: str) -> Function | None:
    return next((each for each in cls.body if isinstance(each, Function) and each.name == name), None)


def find_handler(folder: Path) -> list[str]:
    """Return the files of a folder that could be its handler: `handler.py`, or all that define an entry point."""
    found: list[str] = []
    for path in sorted(folder.glob("*.py")):
        try:
            is_handler = HandlerSource.read(path).has_entry_point()
        except (SyntaxError, ValueError, OSError):
            is_handler = path.name == "handler.py"  # a syntax error in it is reported by the caller, who loads it
        if is_handler:
            found.append(path.name)
    return ["handler.py"] if "handler.py" in found else found


def _bound(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
