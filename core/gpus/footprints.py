"""The GPU memory that a model needs: declared by its config, measured at an earlier load, or guessed by its weights."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from ..trusted_file import read_trusted, replace_file
from ..user_folders import cache_path

log = logging.getLogger(__name__)

CONTEXT = 512 << 20  # bytes: CUDA's context, with the kernels of torch and its libraries
_GROWTH = 1.2  # weights, and a batch's activations beside them
_WHOLE = 1 << 20  # bytes; of larger files only the size counts in a fingerprint
_WEIGHTS = frozenset({".pt", ".pth", ".bin", ".safetensors", ".pt2", ".onnx", ".engine", ".plan", ".ckpt", ".model"})
_KEPT = 1000  # measurements in the file


@dataclass(frozen=True, slots=True)
class Need:
    """A need: bytes to promise, the bytes without which a load is hopeless, and where the figure is from."""

    promise: int
    least: int
    source: str


class Footprints:
    """The measured needs, kept in a JSON file: fingerprint of the archive, GPU and batch size -> bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def recall(self, key: str) -> int | None:
        """Return the bytes measured for `key`, None if it was never measured."""
        found = self._read().get(key)
        return found if isinstance(found, int) else None

    def remember(self, key: str, measured: int) -> None:
        """Keep a measurement if it is the largest yet: a need that was forgotten is an out-of-memory error later."""
        known = self._read()
        if measured <= known.get(key, 0):
            return
        known.pop(key, None)
        known[key] = measured
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, json.dumps(dict(list(known.items())[-_KEPT:]), indent=1).encode(), 0o644)
        except OSError as error:
            log.warning("The measured GPU memory of a model is not kept: %s", error)

    def _read(self) -> dict[str, int]:
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(read_trusted(self._path))
            if isinstance(known, dict):
                return known
        return {}


def need_of(declared: int | None, measured: int | None, weights: int) -> Need:
    """Return the best figure there is. A guess refuses only what is hopeless: weights may load in half precision."""
    if declared is not None:
        return Need(declared, declared, "gpuMemory")
    if measured is not None:
        return Need(measured, measured, "measured at an earlier load")
    return Need(int(weights * _GROWTH) + CONTEXT, weights // 2 + CONTEXT, "guessed from the size of its weights")


def weights_size(folder: Path) -> int:
    """Return the bytes in those files of a model's folder that look like weights."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in _WEIGHTS and path.is_file())


def fingerprint(folder: Path) -> str:
    """Return a digest of a model's files: names, sizes and, of the small ones (code, configuration), contents."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or "__pycache__" in path.parts:
            continue
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder)}\0{size}\0".encode())
        if size <= _WHOLE:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def default_path() -> Path:
    """Return the place of the file in the user's cache folder."""
    return cache_path("gpu-memory.json")
