"""read_contents(): what a file of torch.save or pickle refers to, read from its opcodes without unpickling it."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MOST = 64 << 20  # bytes of a pickle that are read; tensors' data lie in other files, so that it is small
# Names that torch.load accepts with weights_only=True, and modules whose functions act at once when unpickled.
_PLAIN = frozenset({"collections.OrderedDict", "collections.Counter", "collections.defaultdict", "_codecs.encode"})
_RUNNING = frozenset({
    "os", "posix", "nt", "subprocess", "pty", "runpy", "shutil", "socket", "sys", "importlib", "webbrowser", "code",
    "ctypes", "multiprocessing", "asyncio", "pip", "timeit", "bdb", "pdb", "functools", "operator",
})  # fmt: skip
_RUNNING_BUILTINS = frozenset({"eval", "exec", "compile", "getattr", "setattr", "open", "__import__", "apply"})


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a file. `kind` is script (TorchScript), state (torch.save), program (.pt2) or other.

    `refers` are the names of classes and functions, as module.name.
    """

    kind: str
    refers: frozenset[str] = frozenset()

    @property
    def objects(self) -> list[str]:
        """The names that are no plain data, which torch.load refuses with weights_only=True."""
        return sorted(name for name in self.refers if not (name.startswith("torch.") or name in _PLAIN))

    @property
    def runs(self) -> list[str]:
        """The names that act as soon as the file is unpickled."""
        return [name for name in self.objects if _does_something(name)]


def read_contents(path: Path) -> Contents:
    """Read the contents of any file. Raises OSError."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return Contents("other", frozenset(_names(file.read(_MOST))))
    with zipfile.ZipFile(path) as package:
        names = package.namelist()
        if any("/code/" in name for name in names) and any(name.endswith("/constants.pkl") for name in names):
            return Contents("script")
        pickles = [name for name in names if name.endswith("data.pkl")]
        if not pickles:
            is_program = any(name.endswith("archive_format") for name in names)
            return Contents("program" if is_program else "other")
        refers: set[str] = set()
        for name in pickles:
            with package.open(name) as file:
                refers.update(_names(file.read(_MOST)))
    return Contents("state", frozenset(refers))


def _does_something(name: str) -> bool:
    module, _, attribute = name.partition(".")
    return module in _RUNNING or (module in {"builtins", "__builtin__"} and attribute in _RUNNING_BUILTINS)


def _names(data: bytes) -> Iterator[str]:
    """Yield the globals of a pickle, up to the point where it stops being one."""
    texts: list[str] = []
    memo: dict[int, str] = {}
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in {"GLOBAL", "INST"} and isinstance(argument, str):
                yield argument.replace(" ", ".", 1)
            elif opcode.name == "STACK_GLOBAL":
                yield ".".join(texts[-2:])
            elif isinstance(argument, str):
                texts.append(argument)
            elif opcode.name == "MEMOIZE":
                memo[len(memo)] = texts[-1] if texts else ""
            elif opcode.name in {"BINPUT", "LONG_BINPUT"} and isinstance(argument, int):
                memo[argument] = texts[-1] if texts else ""
            elif opcode.name in {"BINGET", "LONG_BINGET"} and isinstance(argument, int):
                texts.append(memo.get(argument, ""))
    except (ValueError, IndexError, KeyError, UnicodeDecodeError, OverflowError, AttributeError):
        return  # it is no pickle, or is cut short
