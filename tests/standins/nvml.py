"""FakeNvml: a stand-in libnvidia-ml.so.1 for child processes, and the fixture `fake_nvml`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

GIB = 1 << 30
NOT_SUPPORTED, NOT_FOUND, NO_DRIVER, GPU_IS_LOST, VERSION_MISMATCH = 3, 6, 9, 15, 18
_SOURCE = Path(__file__).with_name("nvml.c")
_SONAME = "libnvidia-ml.so.1"


class FakeNvml:
    """A process started with `env` (over its usual environment) sees the GPUs that `set` describes; keys in nvml.c."""

    def __init__(self, folder: Path, library: Path | None = None, gpus: int = 2) -> None:
        self._state = folder / "gpus.txt"
        self._values: dict[str, object] = {}
        library = library or build(folder)
        self.env = {
            "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [str(library.parent), os.environ.get("LD_LIBRARY_PATH")])),
            "FAKE_NVML": str(self._state),
            "XDG_CACHE_HOME": str(folder / "cache"),  # what is measured here is no measure for a true GPU
        }
        self.set({"count": gpus})

    def set(self, values: dict[str, object]) -> None:
        """Change some keys, for example {"0.used": 10 * GIB}; None removes one. Seen by the next NVML call."""
        self._values.update(values)
        self._write()

    def fail(self, function: str, code: int, *, gpu: int | str | None = None) -> None:
        """Let `function` return `code`, on one GPU (or "0.mig1") or everywhere, until `set` removes that key."""
        self.set({f"fault.{function}" if gpu is None else f"{gpu}.fault.{function}": code})

    def lose(self, gpu: int) -> None:
        """As if it had fallen off the bus."""
        self.fail("nvmlDeviceGetHandleByIndex_v2", GPU_IS_LOST, gpu=gpu)

    def reset(self, gpus: int = 2) -> None:
        """Forget everything: `gpus` healthy GPUs."""
        self._values = {"count": gpus}
        self._write()

    def _write(self) -> None:
        text = "".join(f"{key}={value}\n" for key, value in self._values.items() if value is not None)
        new = self._state.with_suffix(".new")
        new.write_text(text)
        new.rename(self._state)  # no call sees half a file


def build(folder: Path) -> Path:
    """Compile the library into `folder`."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.fail("these tests compile a stand-in for NVIDIA's driver library: install gcc")
    library = folder / _SONAME
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{_SONAME}"]
    subprocess.run([*command, "-o", str(library), str(_SOURCE)], check=True)
    return library


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def fake_nvml(tmp_path: Path, nvml_library: Path) -> FakeNvml:
    """Two healthy GPUs of 80 GiB, all free."""
    return FakeNvml(tmp_path, nvml_library)
