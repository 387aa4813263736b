"""GpuProbe: asks a process of its own for the host's GPUs as they are now, and remembers which of them are sick.

The driver is asked in another process because a call into it may hang: that process can be killed, a thread could not.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import cache
from typing import Any

from ...scheduler.gpu import FATAL_XIDS, Gpu

log = logging.getLogger(__name__)

TIMEOUT = 10.0  # seconds; a healthy driver answers within milliseconds, one that initialises within a few seconds
_FAREWELL = 1.0  # seconds
_LINE = 1 << 20  # bytes; hundreds of GPUs with hundreds of processes each


class GpuProbe:
    """A probe with one question at a time. Without NVIDIA's library there are no GPUs, and no process is started."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._asking = asyncio.Lock()
        self._sick: dict[str, str] = {}  # by board
        self._ecc_errors: dict[str, int] = {}
        self._said: set[str] = set()

    async def gpus(self) -> tuple[Gpu, ...]:
        """Return the visible GPUs. Raises TimeoutError if the driver is silent; the next call asks a new process."""
        if not _has_library():
            return ()
        async with self._asking:
            try:
                async with asyncio.timeout(TIMEOUT):  # wait_for may swallow a cancellation (Python 3.11)
                    answer = await self._ask()
            except BaseException:
                self._kill()  # an answer that comes late would be taken for the next one
                raise
        self._log(answer["log"])
        gpus = [_gpu(each) for each in answer["gpus"]]
        self._diagnose(gpus, answer["xids"])
        return tuple(replace(gpu, sick=self._sick.get(gpu.board, "")) for gpu in gpus)

    async def close(self) -> None:
        """End the process, and wait for it a second at most: one that hangs in the driver can't be killed."""
        process = self._process
        self._kill()
        if process is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _FAREWELL)

    async def _ask(self) -> dict[str, Any]:
        for _ in range(2):
            process = self._process or await self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(ConnectionError):
                process.stdin.write(b"\n")
                await process.stdin.drain()
            if line := await process.stdout.readline():
                return json.loads(line)
            self._kill()  # the process was killed from outside: ask once more, with a new one
        log.warning("No GPU can be used: the process that asks the driver ends without an answer")
        return {"gpus": [], "xids": [], "log": []}

    def _kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process = None

    async def _start(self) -> asyncio.subprocess.Process:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "torchserve.scheduler.gpu_process"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=_LINE,
            start_new_session=True,
        )
        return self._process

    def _log(self, lines: list[tuple[int, str]]) -> None:
        """Log each text once for as long as it is told: the driver is asked every few seconds."""
        for level, text in lines:
            if text not in self._said:
                log.log(level, "%s", text)
        self._said = {text for _, text in lines}

    def _diagnose(self, gpus: list[Gpu], xids: list[tuple[str, int]]) -> None:
        for board, xid in xids:
            if xid in FATAL_XIDS:
                self._quarantine(board, f"XID {xid}, {FATAL_XIDS[xid]}")
        for gpu in gpus:
            if gpu.ecc_errors is None:
                continue
            before = self._ecc_errors.setdefault(gpu.board, gpu.ecc_errors)
            if gpu.ecc_errors > before:
                self._quarantine(gpu.board, f"{gpu.ecc_errors - before} uncorrected ECC errors since the start")

    def _quarantine(self, board: str, reason: str) -> None:
        if board not in self._sick:
            log.error("GPU %s takes no more workers until the server starts anew: %s", board, reason)
            self._sick[board] = reason


def _gpu(told: dict[str, Any]) -> Gpu:
    return Gpu(
        **{**told, "processes": {int(pid): size for pid, size in told["processes"].items()}}
    )  # JSON's keys are text


@cache
def _has_library() -> bool:
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True
