"""RayPlacer: the front's end of the process that speaks with Ray (core.workers.spawn_ray).

It tells when the cluster's head doesn't answer: what is placed goes on, what is ordered waits until it answers again.
It may also end, as Ray ends processes that have lost the head for a minute. Then a new process is started, with
back-off, and takes over the orders that wait. Once it has found a cluster, the places that its predecessor held are
lost: Ray's books don't know them any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from dataclasses import dataclass, field
from typing import Any, Final

from .placer import Demand, NotPlaced, Place, Told

log = logging.getLogger(__name__)

_CONNECT: Final = 90.0  # seconds in which Ray must be reached at the start
_LONGEST: Final = 30.0  # seconds between two attempts to reach it
_END: Final = 5.0  # seconds that the process has to give its places back
_LINE: Final = 1 << 20


@dataclass(slots=True, eq=False)
class _Order:
    message: dict[str, Any]
    waits: Told
    lost: Told
    session: int = 0  # in which it was placed; 0: it waits
    placed: asyncio.Future[Place] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class RayPlacer:
    """An engine that is a Ray cluster, at `address`, or at the one that RAY_ADDRESS or this host names."""

    def __init__(self, address: str | None = None) -> None:
        self._address = address
        self._orders: dict[str, _Order] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._ready: asyncio.Future[str] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._session = 0

    async def open(self) -> str:
        """Reach Ray, and return the address of this host as its nodes know it. Raises NotPlaced."""
        if self._keeping is None:
            self._ready = asyncio.get_running_loop().create_future()
            self._keeping = asyncio.create_task(self._keep(), name="ray")
        assert self._ready is not None
        try:
            async with asyncio.timeout(_CONNECT):
                return await asyncio.shield(self._ready)
        except TimeoutError:
            raise NotPlaced(f"Ray at {self._shown} was not reached in {_CONNECT:g} s; see the log") from None

    async def place(self, order: str, demand: Demand, ticket: bytes, waits: Told, lost: Told) -> Place:
        """Have Ray start a minder; see Placer. Raises NotPlaced."""
        asked = {"gpus": demand.gpus, "cpus": demand.cpus, "memory": demand.memory}
        found = _Order({"order": order, "demand": asked, "ticket": ticket.decode()}, waits, lost)
        self._orders[order] = found
        if not self._send(found.message):
            waits(f"Ray at {self._shown} is not reached")
        try:
            return await found.placed
        except BaseException:
            self.release(order)
            raise

    def release(self, order: str) -> None:
        """Give up a place, or the wait for one."""
        if self._orders.pop(order, None) is not None:
            self._send({"order": order})

    async def close(self) -> None:
        """Give up all places, and end the process."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    @property
    def _shown(self) -> str:
        return self._address or os.environ.get("RAY_ADDRESS") or "the cluster of this host"

    @property
    def _placed(self) -> int:
        return sum(order.session > 0 for order in self._orders.values())

    async def _keep(self) -> None:
        """Keep a process that speaks with Ray."""
        delay = 1.0
        while True:
            began = asyncio.get_running_loop().time()
            reason = await self._speak()
            log.error(
                "Ray at %s can't be reached: %s. The %d workers that it has placed go on; no other one can be placed"
                " until it is back, which is tried again in %g s.",
                *(self._shown, reason, self._placed, delay),
            )
            for order in self._orders.values():
                if not order.session:
                    order.waits(f"Ray at {self._shown} can't be reached: {reason}")
            await asyncio.sleep(delay)
            delay = 1.0 if asyncio.get_running_loop().time() - began > _LONGEST else min(2 * delay, _LONGEST)

    async def _speak(self) -> str:
        """Run one process to its end, and return why it ended."""
        command = [sys.executable, "-P", "-m", "torchserve.core.workers.spawn_ray"]
        process = await asyncio.create_subprocess_exec(
            *command, *filter(None, [self._address]), stdin=-1, stdout=-1, limit=_LINE, start_new_session=True
        )
        self._process = process
        reason = "its process ended"
        try:
            assert process.stdout is not None
            while line := await process.stdout.readline():
                message = json.loads(line)
                reason = message.get("failed", reason)
                self._take(message)
        finally:
            self._process = None
            assert process.stdin is not None
            process.stdin.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _END)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        return f"{reason} (code {process.returncode})"

    def _take(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self._begin(message)
            return
        if "head" in message:
            self._head_told(message["head"])
            return
        order = self._orders.get(message.get("order", ""))
        if order is None:
            return
        if "waits" in message:
            order.waits(message["waits"])
        elif "node" in message:
            order.session = self._session
            order.waits("")
            if not order.placed.done():
                order.placed.set_result(Place(f"{message['node']} ({message['host']})", message["gpus"]))
        elif not order.placed.done():
            order.placed.set_exception(NotPlaced(message["gone"]))
        else:
            del self._orders[message["order"]]
            order.lost(f"Ray has lost its place: {message['gone']}")

    def _begin(self, message: dict[str, Any]) -> None:
        """Note that Ray is reached: what waits is asked for, what the last process had placed is lost."""
        self._session += 1
        log.info("Ray is reached: %d nodes with %g GPUs", message["nodes"], message["gpus"])
        assert self._ready is not None
        if not self._ready.done():
            self._ready.set_result(message["ready"])
        for name, order in list(self._orders.items()):
            if order.session:
                del self._orders[name]
                order.lost("Ray was left and reached again, and does not know of it any more")
            else:
                self._send(order.message)

    def _head_told(self, why: str) -> None:
        """Log that the cluster's head has ceased or begun to answer; what waits is told by Ray's process itself."""
        if not why:
            log.info("The head of Ray at %s answers again", self._shown)
            return
        log.error(
            "The head of Ray at %s does not answer: %s. The %d workers that it has placed go on; none can be started or"
            " moved until it does.",
            *(self._shown, why, self._placed),
        )

    def _send(self, message: dict[str, Any]) -> bool:
        process = self._process
        if not self._session or process is None or process.stdin is None or process.stdin.is_closing():
            return False
        process.stdin.write(json.dumps(message).encode() + b"\n")
        return True
