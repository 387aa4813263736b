"""RelativeImports: lets a model's files import their neighbours by `from .model import Net`.

A handler is a module at the top level, as in TorchServe, where a relative import has no package to start from. Giving
all files of an archive a package would change their names, which pickles, loggers and `import model` rely on. So only
the files that need one get it, and what they import is the module that `import` finds under its usual name:

- A file whose relative imports go above its own package (for a file beside the handler: any) is told a package that
  stands for the archive's folder. Its name, and all other files, are as they were.
- `from .model import Net` then asks for the module `model` of that package. It is `model` itself, imported once,
  unless another module has that name already: neighbours called `types.py` or `select.py` can be imported this way.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_ROOT = "__archive__"
_RELATIVE = re.compile(rb"^[^#\n]*?\bfrom[ \t]*([. \t]{0,64}\.)(?:[\w. \t]|\\\r?\n){0,200}?\bimport\b", re.MULTILINE)


class RelativeImports(MetaPathFinder):
    """A finder of the modules of one model. `folder` is the model's, `handler_folder` that folder or one below it."""

    def __init__(self, folder: Path, handler_folder: Path) -> None:
        self._folder = folder
        self._handler_folder = handler_folder

    def install(self) -> None:
        """Find modules for this process from now on, in place of an earlier model's finder."""
        for other in [finder for finder in sys.meta_path if isinstance(finder, RelativeImports)]:
            other.uninstall()
        package = ModuleType(_ROOT, "Stands for the folder of the model's archive, where relative imports start.")
        package.__path__ = [str(self._folder)]
        package.__spec__ = ModuleSpec(_ROOT, None, is_package=True)
        sys.modules[_ROOT] = package
        at = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
        sys.meta_path.insert(at, self)

    def uninstall(self) -> None:
        """Find nothing any more, and forget the modules of the package."""
        sys.meta_path.remove(self)
        for name in [name for name in sys.modules if name == _ROOT or name.startswith(f"{_ROOT}.")]:
            del sys.modules[name]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target)
        if fullname.startswith(f"{_ROOT}."):
            usual = self._usual_name(fullname)
            if spec is None:
                file = fullname.removeprefix(f"{_ROOT}.").replace(".", "/")
                raise ModuleNotFoundError(f"No module named {usual!r}: the archive has no {file}.py", name=fullname)
            return ModuleSpec(fullname, _Same(usual)) if _is_same(usual, spec) else spec
        if spec is None:
            return None
        package = self._package_of(spec)
        return spec if package is None else _InPackage.of(spec, package)

    def _usual_name(self, fullname: str) -> str:
        """Return the name by which `import` finds a module of the package; the handler's folder is searched first."""
        parts = fullname.split(".")[1:]
        own = () if self._handler_folder == self._folder else self._handler_folder.relative_to(self._folder).parts
        return ".".join(parts[len(own) :] if len(parts) > len(own) and tuple(parts[: len(own)]) == own else parts)

    def _package_of(self, spec: ModuleSpec) -> str | None:
        """Return the package to give to a module, or None if its relative imports need none."""
        file = spec.origin
        if not file or not file.endswith(".py") or not Path(file).is_relative_to(self._folder):
            return None
        try:
            source = Path(file).read_bytes()
        except OSError:
            return None
        dots = max((dots.count(b".") for dots in _RELATIVE.findall(source)), default=0)
        if dots <= (spec.parent.count(".") + 1 if spec.parent else 0):
            return None
        return ".".join((_ROOT, *Path(file).parent.relative_to(self._folder).parts))


class _InPackage(ModuleSpec):
    """A spec of a module whose relative imports start at `package`, whatever the module's name is."""

    package = ""

    @classmethod
    def of(cls, spec: ModuleSpec, package: str) -> _InPackage:
        made = cls(spec.name, spec.loader, origin=spec.origin)
        made.submodule_search_locations = spec.submodule_search_locations
        made.has_location = spec.has_location
        made.package = package
        return made

    @property
    def parent(self) -> str:
        return self.package


class _Same(Loader):
    """A loader whose module is the one that is imported as `usual`."""

    def __init__(self, usual: str) -> None:
        self._usual = usual
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._usual)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has replaced it by that of the other name


def _is_same(usual: str, spec: ModuleSpec) -> bool:
    """Return whether `import usual` would load the module of `spec`."""
    loaded = sys.modules.get(usual)
    try:
        found = loaded.__spec__ if loaded is not None else importlib.util.find_spec(usual)
    except (ImportError, ValueError, AttributeError):
        return False
    if found is None:
        return False
    if spec.origin is not None:
        return found.origin == spec.origin
    return found.origin is None and list(found.submodule_search_locations or ()) == list(
        spec.submodule_search_locations or ()
    )
