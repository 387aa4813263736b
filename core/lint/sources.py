"""check_source(): finds missing imports in an archive's Python files, and calls with surprising effects in a server."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from .issue import ERROR, WARNING, Issue

_CALLS = {
    "eval": "runs text as code",
    "exec": "runs text as code",
    "os.system": "starts another program",
    "os.popen": "starts another program",
    "os.fork": "forks the worker; only the worker answers",
    "os._exit": "ends the worker, and with it the requests it has",
    "sys.exit": "is answered with 503; it does not end the worker",
    "exit": "is answered with 503; it does not end the worker",
    "quit": "is answered with 503; it does not end the worker",
    "input": "waits for nobody: a worker has no terminal (`torchserve predict` has)",
    "breakpoint": "waits for nobody: a worker has no terminal (`torchserve predict` has)",
    "pdb.set_trace": "waits for nobody: a worker has no terminal (`torchserve predict` has)",
    "pickle.load": "runs whatever code the pickle holds",
    "pickle.loads": "runs whatever code the pickle holds",
    "dill.load": "runs whatever code the pickle holds",
    "dill.loads": "runs whatever code the pickle holds",
    "joblib.load": "runs whatever code the pickle holds",
    "cloudpickle.load": "runs whatever code the pickle holds",
    "cloudpickle.loads": "runs whatever code the pickle holds",
    "yaml.unsafe_load": "runs whatever code the YAML holds",
    "yaml.full_load": "makes objects that the YAML names",
    "torch.hub.load": "downloads code, and runs it",
    "urllib.request.urlopen": "needs the network",
    "urllib.request.urlretrieve": "needs the network",
    "requests.get": "needs the network",
    "requests.post": "needs the network",
    "huggingface_hub.snapshot_download": "needs the network",
    "signal.signal": "takes a signal from the worker",
}
_STARTS = frozenset({"run", "Popen", "call", "check_call", "check_output"})


def check_source(path: Path, root: Path, required: frozenset[str]) -> Iterator[Issue]:
    """Yield the issues of a Python file; `required` are the packages of requirements.txt, in lower case."""
    name = str(path.relative_to(root))
    try:
        tree = ast.parse(path.read_bytes(), name)
    except SyntaxError as error:
        yield Issue(ERROR, name, error.lineno or 0, f"SyntaxError: {error.msg}")
        return
    except ValueError as error:
        yield Issue(ERROR, name, 0, str(error))
        return
    yield from _imports(tree, name, path, root, required)
    aliases = _aliases(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (text := _said_of(node, _dotted(node.func, aliases))):
            yield Issue(WARNING, name, node.lineno, text)


def _imports(tree: ast.Module, name: str, path: Path, root: Path, required: frozenset[str]) -> Iterator[Issue]:
    """Yield the imports at module level that are not available.

    An import within a try or a function may be missing on purpose.
    """
    for node in tree.body:
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level > 0:
            yield from _relative(node, name, path, root)
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module]
        for module in modules:
            top = module.partition(".")[0]
            if top in sys.stdlib_module_names or _is_in(top, path.parent) or _is_in(top, root):
                continue
            if top == "ts":
                for missing in _missing(module, node):
                    yield Issue(ERROR, name, node.lineno, f"TorchServe's {missing} is not part of this server")
            elif top.lower().replace("_", "-") not in required and not _is_there(top):
                text = f"no module {top!r} is installed here, and no requirements.txt of the archive names it"
                yield Issue(WARNING, name, node.lineno, text)


def _relative(node: ast.ImportFrom, name: str, path: Path, root: Path) -> Iterator[Issue]:
    """Yield the issue of a relative import that leads out of the archive, or to a module that it lacks."""
    above = path.relative_to(root).parents
    if node.level > len(above):
        yield Issue(ERROR, name, node.lineno, f"an import with {node.level} dots leads out of the archive")
    elif node.module:
        top = node.module.partition(".")[0]
        folder = root / above[node.level - 1]
        if not _is_in(top, folder):
            missing = (folder / top).relative_to(root)
            yield Issue(ERROR, name, node.lineno, f"the archive has no {missing}.py, which a relative import asks for")


def _is_in(top: str, folder: Path) -> bool:
    return (folder / f"{top}.py").is_file() or (folder / top).is_dir()


def _missing(module: str, node: ast.stmt) -> list[str]:
    """Return what an import of one of TorchServe's modules names in vain: the module, or names that it leaves out."""
    if not _is_there(module):
        return [f"module {module}"]
    spec = importlib.util.find_spec(module)
    source = Path(spec.origin).read_bytes() if spec is not None and spec.origin else b""
    left_out = {
        argument.value
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "left_out"
        for argument in call.args[1:]
        if isinstance(argument, ast.Constant)
    }
    imported = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
    return [f"{module}.{each}" for each in imported if each in left_out]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError, AttributeError):
        return False


def _aliases(tree: ast.Module) -> dict[str, str]:
    """Return the qualified name of each imported name."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


def _dotted(node: ast.expr, aliases: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, aliases)}.{node.attr}"
    return ""


def _said_of(call: ast.Call, name: str) -> str:
    if name in _CALLS:
        return f"{name} {_CALLS[name]}"
    module, _, function = name.rpartition(".")
    if module == "subprocess" and function in _STARTS:
        return f"{name} starts another program"
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if name == "torch.load" and _is_constant(given.get("weights_only"), value=False):
        return "torch.load(weights_only=False) runs whatever code the file holds"
    if name == "yaml.load":
        loader = given.get("Loader") or (call.args[1] if len(call.args) > 1 else None)
        if loader is None or not _dotted(loader, {}).endswith("SafeLoader"):
            return "yaml.load without a SafeLoader runs whatever code the YAML holds"
    if _is_constant(given.get("trust_remote_code"), value=True):
        return f"{name or 'a call'} with trust_remote_code runs code that it downloads"
    return ""


def _is_constant(node: ast.expr | None, *, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value
