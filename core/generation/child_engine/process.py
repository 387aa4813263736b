"""EngineProcess: an engine's process with the guard in front of it, and what the two print."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from .engine_guard import adopt_orphans, end_descendants
from .log_lines import LogLines, pump

GRACE = 1.0  # seconds that an engine has between SIGTERM and SIGKILL; the front gives its worker two in all
_GUARD = Path(__file__).with_name("engine_guard.py")
_SAID = 0.5  # seconds to wait for the last lines of an engine that has ended


class EngineProcess:
    """An engine that runs. `ended` resolves to its exit code, 128 and the signal's number if it was killed.

    Must be made on the event loop's thread. `folder` is removed once the engine has ended. Raises OSError.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], cwd: str, folder: str) -> None:
        adopt_orphans()
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = loop.create_future()
        self._printed = (LogLines(), LogLines())  # on standard output and error
        life, self._life = os.pipe()
        told, tell = os.pipe()
        guard = [sys.executable, "-I", "-S", str(_GUARD), "--life", str(life), "--tell", str(tell), "--folder", folder]
        try:
            self._popen = subprocess.Popen(
                [*guard, "--grace", str(GRACE), "--", *command],
                env=dict(environment), cwd=cwd, pass_fds=(life, tell), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        except BaseException:
            os.close(self._life)
            os.close(told)
            raise
        finally:
            os.close(life)
            os.close(tell)
        assert self._popen.stdout is not None
        assert self._popen.stderr is not None
        with self._popen.stdout, self._popen.stderr:
            self._telling = [
                pump(os.dup(pipe.fileno()), target, lines)
                for pipe, target, lines in zip(
                    (self._popen.stdout, self._popen.stderr), (1, 2), self._printed, strict=True
                )
            ]
        threading.Thread(target=self._wait, args=(loop, told, folder), name="engine's end", daemon=True).start()

    @property
    def pid(self) -> int:
        """The guard's pid, which is the number of the engine's session and process group, too."""
        return self._popen.pid

    def said(self) -> list[str]:
        """Return the last lines on standard error, or else on standard output, once the engine has ended."""
        for thread in self._telling:
            thread.join(_SAID)
        output, errors = self._printed
        return [line.decode("utf-8", "replace").rstrip() for line in errors.last or output.last]

    def stop(self) -> None:
        """End the engine and all that it has started, and wait for that. A second call does nothing."""
        life, self._life = self._life, -1
        if life < 0:
            return
        os.close(life)
        with contextlib.suppress(subprocess.TimeoutExpired):  # the guard goes on by itself
            self._popen.wait(GRACE + 0.5)

    def _wait(self, loop: asyncio.AbstractEventLoop, told: int, folder: str) -> None:
        text = os.read(told, 16)
        os.close(told)
        if text:
            code = int(text)
        else:  # the guard was killed, and what it kept is below this process now
            code = self._popen.wait()
            code = 128 - code if code < 0 else code
            end_descendants()
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._tell, code)
        self._popen.wait()

    def _tell(self, code: int) -> None:
        if not self.ended.done():
            self.ended.set_result(code)


def describe_code(code: int) -> str:
    """Return what an engine with that exit code did: exited, or was killed by a signal."""
    if code <= 128:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(code - 128).name}"
    except ValueError:
        return f"exited with code {code}"
