"""First sentences: a function's opens with an imperative verb, a class's with "A", "An" or "The", and each ends with a full stop.

A function that is a property is spoken of as what it is, not as what it does, so it may open as a class does. `__init__` and other
double-underscored methods, functions within functions and whatever has no docstring are left alone.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from .prose import parse

_OF_A_CLASS = re.compile(r"(A|An|The)\b")
_WORD = re.compile(r"[A-Za-z]+")
# What a sentence begins with that is no order.
_NO_VERB = set(
    """a all an and another any anything are as at before both by each either every everything few for from has he here how if
    in is it its just least less many more most much neither no nobody none not nothing now of on one only other others our so some
    somebody something such than that the their them then there these they this those three to two under until was were what whatever
    when whenever where wherever whether which whichever while who whoever whom whose why with within without yes you your""".split()
)
_PROPERTIES = {"property", "cached_property"}


def faults(root: Path, file: Path) -> list[str]:
    """Return the first sentences of `file` that don't open or end as they should, by place."""
    place = file.relative_to(root).as_posix()
    return [
        f"{place}:{node.lineno}: {node.name}: {why}: {text.splitlines()[0]}"
        for node in _documented(parse(file))
        if (text := ast.get_docstring(node)) and (why := _fault(node, text))
    ]


def _documented(tree: ast.Module | ast.ClassDef) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node
            yield from _documented(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("__"):
            yield node


def _fault(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, text: str) -> str:
    if not text.partition("\n\n")[0].rstrip().endswith((".", "?", "!", ":", "::")):
        return "no full stop"
    if isinstance(node, ast.ClassDef):
        return "" if _OF_A_CLASS.match(text) else 'begins with none of "A", "An", "The"'
    if any(ast.unparse(each).rpartition(".")[2] in {*_PROPERTIES, "setter"} for each in node.decorator_list):
        return ""
    return "" if _is_order(text.split()[0]) else "begins with no imperative verb"


def _is_order(word: str) -> bool:
    if not _WORD.fullmatch(word.rstrip(",;:")):
        return False
    lower = word.lower().rstrip(",;:")
    third_person = lower.endswith("s") and not lower.endswith("ss")
    return (lower not in _NO_VERB and not third_person and not lower.endswith(("ing", "ed"))) or lower in {
        "bring",
        "feed",
    }
