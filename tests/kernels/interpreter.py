"""Triton's interpreter in a process of its own, since its switch must be set before triton is imported and then stays.

Interpreter is the parent's end. As a program it answers lines from stdin: a pickled (op, case, file of kernels or None)
each, with the faults found, as JSON.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Self

from torchserve.kernels.op import Case, Implementation, Op

ROOT = Path(__file__).resolve().parents[2]


class Interpreter:
    """Starts on the first question, and again after a kernel has killed it."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the child

    def faults(self, op: Op, case: Case, kernels: Path | None = None) -> list[str]:
        """What is wrong with the fused version's answer to `case`; with the version in the file `kernels`, if given."""
        child = self._child = self._child or self._start()
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(base64.b64encode(pickle.dumps((op.name, case, kernels))).decode() + "\n")
        child.stdin.flush()
        answer = child.stdout.readline()
        if answer:
            return json.loads(answer)
        self._child = None
        code = child.wait()
        _close(child)
        if code == -signal.SIGSEGV:
            return ["touched memory beside its tensors"]
        self._complaints.seek(0)
        raise RuntimeError(f"the interpreter's process ended with {code}:\n{self._complaints.read()}")

    def _start(self) -> subprocess.Popen[str]:
        env = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", __spec__.name]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=env, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=self._complaints, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            _close(self._child)
        self._complaints.close()


def _close(child: subprocess.Popen[str]) -> None:
    for end in (child.stdin, child.stdout):
        if end is not None:
            end.close()


def planted(op: Op, kernels: Path) -> Implementation:
    """The op's function from another file than its `fused.py`."""
    package = f"torchserve.kernels.{op.name}"
    spec = importlib.util.spec_from_file_location(f"{package}.{kernels.stem}", kernels)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return getattr(module, op.name)


def main() -> None:
    import triton  # noqa: F401  before warnings count as errors

    from torchserve.kernels.catalog import OPS

    from .memory import Fences
    from .verdict import faults

    ops = {op.name: op for op in OPS}
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it is expected to be killed: no dump of that
    for line in sys.stdin:
        name, case, kernels = pickle.loads(base64.b64decode(line))
        op = ops[name]
        try:
            version = planted(op, kernels) if kernels else op.fused
            found = [fault for side in ("after", "before") for fault in faults(op, version, case, Fences(side))]
        except Exception as error:
            found = [f"{type(error).__name__}: {error}"]
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
