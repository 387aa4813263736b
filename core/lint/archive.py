"""lint(): checks an opened archive by reading its files."""

from __future__ import annotations

import difflib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from ..archive.handler_source import BUILT_IN, WEIGHTS_ELSEWHERE, HandlerSource, method
from ..archive.manifest import MANIFEST_PATH
from ..archive.reader import Archive
from ..config.model_options import Requested, resolve_options
from ..config.settings import Settings
from .entry_point import check_entry_point, handler_file
from .issue import ERROR, WARNING, Issue
from .pickles import Contents, read_contents
from .sources import check_source

KEYS = (
    "minWorkers maxWorkers batchSize maxBatchDelay batchPolicy responseTimeout startupTimeout maxRetryTimeoutInSec"
    " clientTimeoutInMills latencySlo timeToFirstTokenMs timePerTokenMs generatesText"
    " jobQueueSize deviceType deviceIds gpuMemory whenNoGpuMemory parallelType"
    " parallelLevel torchrun asyncCommunication idempotent isolateErrors batchDimension inputs outputs"
    " useVenv useJobTicket continuousBatching sequenceBatching"
    " sequenceMaxIdleMSec sequenceTimeoutMSec maxNumSequence maxSequenceJobQueueSize onDemand"
    " slowRequestMs cache payloadLog minResidency autoscale scaleDownAfter warmUp warmUpTimeout channelsLast freeze"
    " threads warmSpare warmUpFirst paddedBatchSizes fusedPreprocessing gpuJpeg cudaGraphs handler pt2 micro_batching"
    " bf16 quantize compile approximateResize lengthBuckets"
).split()
_WEIGHTS = (".pt", ".pth")
_PICKLES = (".pkl", ".pickle", ".joblib", ".dill")
_USELESS = frozenset({"__pycache__", ".git", ".venv", "venv", ".ipynb_checkpoints", "node_modules"})
_MOST = 10_000  # entries of one folder that are checked
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def lint(archive: Archive) -> list[Issue]:
    """Return the issues, errors first, then by file and line."""
    found = {*_of_manifest(archive), *_of_config(archive.config or {}), *_of_files(archive)}
    if archive.manifest.handler is not None:
        is_asynchronous = (archive.config or {}).get("asyncCommunication") is True
        found.update(check_entry_point(archive.manifest.handler, archive.model_dir, asynchronous=is_asynchronous))
        found.update(_of_weights(archive))
    return sorted(found, key=lambda issue: (issue.level != ERROR, issue.file, issue.line, issue.text))


def _of_manifest(archive: Archive) -> Iterator[Issue]:
    manifest = archive.manifest
    if not (archive.model_dir / MANIFEST_PATH).is_file():
        yield Issue(WARNING, MANIFEST_PATH, 0, "there is none: name and handler must come with the registration")
    elif manifest.handler is None:
        yield Issue(WARNING, MANIFEST_PATH, 0, "it names no handler: one must come with the registration")
    for key, name in (
        ("serializedFile", manifest.serialized_file),
        ("modelFile", manifest.model_file),
        ("requirementsFile", manifest.requirements_file),
    ):
        if name and not (archive.model_dir / name).is_file():
            yield Issue(ERROR, MANIFEST_PATH, 0, f"{key} {name!r} is not in the archive")


def _of_config(config: Mapping[str, Any]) -> Iterator[Issue]:
    file = "model-config.yaml"
    with _warnings("torchserve.core.config") as told:
        resolve_options(config, Requested(), Settings())
    for text in told:
        yield Issue(WARNING, file, 0, text.removeprefix("model-config.yaml: "))
    for key in config:
        near = difflib.get_close_matches(str(key), KEYS, 1, 0.8)
        if near and near[0] != key:
            yield Issue(WARNING, file, 0, f"{key!r} has no meaning for the server; {near[0]!r} has")
    options = config.get("handler")
    if isinstance(options, dict) and options.get("weights_only") is False:
        text = "weights_only: false: whoever can change the weights runs code on the server"
        yield Issue(WARNING, file, 0, text)


def _of_files(archive: Archive) -> Iterator[Issue]:
    root = archive.model_dir
    required = _required(archive)
    for path in _inside(root):
        name = str(path.relative_to(root))
        if path.is_dir() and path.name in _USELESS:
            yield Issue(WARNING, name, 0, "nothing that a model needs")
        if not path.is_file() or _USELESS & set(path.relative_to(root).parts):
            continue
        if path.suffix == ".py":
            yield from check_source(path, root, required)
        elif path.suffix in _PICKLES:
            runs = read_contents(path).runs
            level, what = (ERROR, f": this one has {', '.join(runs)}") if runs else (WARNING, "")
            yield Issue(level, name, 0, f"a pickle may run code when it is loaded{what}")
        elif path.name == "index_to_name.json":
            yield from _labels(path, name)
    if archive.manifest.requirements_file and (root / archive.manifest.requirements_file).is_file():
        yield from _requirements(root / archive.manifest.requirements_file, archive.manifest.requirements_file)


def _inside(root: Path) -> Iterator[Path]:
    """Yield all files and folders below `root`, also below folders that it links to, which folder_archive makes."""
    for top in sorted(root.iterdir()):
        yield top
        if top.is_dir():
            real = top.resolve()
            yield from (top / path.relative_to(real) for path in islice(sorted(real.rglob("*")), _MOST))


def _labels(path: Path, name: str) -> Iterator[Issue]:
    try:
        labels = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        yield Issue(ERROR, name, 0, f"it is not JSON: {error}")
        return
    if not isinstance(labels, dict):
        yield Issue(ERROR, name, 0, 'it must be an object: {"0": "label", …}')


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if text:
            yield number, text


def _required(archive: Archive) -> frozenset[str]:
    path = archive.model_dir / (archive.manifest.requirements_file or "")
    if not path.is_file():
        return frozenset()
    names = (_NAME.match(text) for _, text in _lines(path))
    return frozenset(name[0].lower().replace("_", "-") for name in names if name)


def _requirements(path: Path, name: str) -> Iterator[Issue]:
    for number, text in _lines(path):
        if _NAME.match(text) and "==" not in text and "@" not in text:
            yield Issue(WARNING, name, number, f"{text!r} names no version (==): another day installs another one")
        if "://" in text and not text.startswith("-"):
            yield Issue(WARNING, name, number, f"{text!r} is fetched from there at the registration")


def _of_weights(archive: Archive) -> Iterator[Issue]:
    manifest, root = archive.manifest, archive.model_dir
    built_in = (manifest.handler or "").removeprefix("ts.torch_handler.") in BUILT_IN
    elsewhere = (manifest.handler or "").removeprefix("ts.torch_handler.") in WEIGHTS_ELSEWHERE
    if built_in and not elsewhere and not (manifest.serialized_file or manifest.model_file):
        yield Issue(ERROR, MANIFEST_PATH, 0, f"{manifest.handler} needs weights: --serialized-file, or --model-file")
    options = (archive.config or {}).get("handler")
    is_trusted = isinstance(options, dict) and options.get("weights_only") is False
    for path in _inside(root):
        if path.suffix not in _WEIGHTS or not path.is_file():
            continue
        contents, name = read_contents(path), str(path.relative_to(root))
        yield from _objects(contents, name, trusted=is_trusted)
        if name == manifest.serialized_file and (built_in or _loads_by_base(root, manifest.handler or "")):
            yield from _fits(contents, name, has_class=manifest.model_file is not None)


def _objects(contents: Contents, name: str, *, trusted: bool) -> Iterator[Issue]:
    if contents.runs:
        yield Issue(ERROR, name, 0, f"it runs code when it is loaded: {', '.join(contents.runs)}")
    elif contents.objects:
        shown = ", ".join(contents.objects[:5])
        if trusted:
            yield Issue(WARNING, name, 0, f"it holds objects ({shown}), which weights_only: false lets in")
        else:
            text = f"it holds objects ({shown}), which are refused: save model.state_dict(), or say weights_only: false"
            yield Issue(ERROR, name, 0, f"{text} under handler: in model-config.yaml")


def _fits(contents: Contents, name: str, *, has_class: bool) -> Iterator[Issue]:
    if contents.kind == "state" and not has_class:
        yield Issue(ERROR, name, 0, "it is a state dict, and no --model-file has the model's class")
    elif contents.kind == "script" and has_class:
        yield Issue(ERROR, name, 0, "it is TorchScript, which needs no --model-file; with one a state dict is expected")
    elif contents.kind == "program":
        yield Issue(ERROR, name, 0, "it is a package of torch.export or AOTInductor: call it .pt2")


def _loads_by_base(root: Path, handler: str) -> bool:
    """Return whether the handler's class leaves loading the model to BaseHandler."""
    try:
        source = HandlerSource.read(handler_file(root, handler))
    except (OSError, SyntaxError, ValueError):
        return False
    handlers = source.handlers()
    return source.function("handle") is None and len(handlers) == 1 and method(handlers[0], "initialize") is None


@contextmanager
def _warnings(name: str) -> Iterator[list[str]]:
    """Collect what is logged below `name` within this context, instead of logging it."""
    told: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    logger, keep = logging.getLogger(name), Keep(logging.WARNING)
    logger.addHandler(keep)
    before, logger.propagate = logger.propagate, False
    try:
        yield told
    finally:
        logger.propagate = before
        logger.removeHandler(keep)
