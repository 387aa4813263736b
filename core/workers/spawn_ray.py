"""The engine `ray`: a process of its own that speaks with Ray, so that the front never does; no other file knows Ray.

    python -m torchserve.core.workers.spawn_ray [ADDRESS]

It is told on standard input, and tells on standard output, lines of JSON (core.workers.remote.ray_placer is the other
end). Ray ends a process that has lost the cluster's head for a minute: so it may end this one, while the front and the
workers go on. For each worker there is one actor, which holds its GPUs, cores and memory in Ray's books and starts the
worker's minder in a session of its own: what ends the actor, or the node's Ray, does not end the worker.

What Ray asks its head for waits a minute where the head is gone, and then ends the process. So whatever may ask it runs
in a thread, and `Watch` tells the front within seconds that the head doesn't answer, and when it does again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import ray  # pyright: ignore[reportMissingImports]  # an extra
from ray.exceptions import RayError  # pyright: ignore[reportMissingImports]

log = logging.getLogger(__name__)
T = TypeVar("T")

_POLL: Final = 2.0  # seconds between two looks at the cluster, and at why an actor isn't placed
_PATIENCE: Final = 5.0  # seconds in which a head that is there answers
_GIVING_BACK: Final = 2.0  # seconds at the end in which Ray may take the places back
# Forks once more, so that the minder is no child of the actor's, which Ray would end with the actor.
_DETACH: Final = (
    "import os, sys\n"
    "if os.fork(): os._exit(0)\n"
    "os.setsid()\n"
    "os.execv(sys.executable, [sys.executable, '-P', '-m', 'torchserve.core.backend.minder'])\n"
)


class Agent:
    """The actor of one worker."""

    def start(self, ticket: str) -> tuple[str, str]:
        """Start the minder, with the ticket on its standard input. Return the id and the address of this node."""
        self._alive, theirs = os.pipe()  # its end of the pipe is closed when it ends
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _DETACH],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs,),
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        assert process.stdin is not None
        with process.stdin as stdin:
            stdin.write(ticket.encode() + b"\n")
        process.wait()
        return ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address()

    def stay(self) -> None:
        """Wait until the minder has ended."""
        os.read(self._alive, 1)


class Watch:
    """The state of the cluster, as its head told it last. `silent` says that the head doesn't answer."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.free: Mapping[str, float] = {}
        self.silent = False
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []

    async def run(self) -> None:
        """Ask the head every few seconds, and tell the front when it ceases or begins to answer."""
        while True:
            self._wanted.clear()
            waiting, self._waiting = self._waiting, []
            asked = in_thread(_cluster)
            await asyncio.wait([asked], timeout=_PATIENCE)
            if not asked.done():
                self._tell(f"it has not answered for {_PATIENCE:g} s")
                await asyncio.wait([asked])
            if (error := asked.exception()) is not None:
                self._tell(_first_line(error) or type(error).__name__)
                self._waiting += waiting
            else:
                self.nodes, self.free = asked.result()
                self._tell("")
                for each in waiting:
                    if not each.cancelled():
                        each.set_result(None)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), _POLL)

    async def answer(self) -> None:
        """Wait until the head has answered a question that is put from now on."""
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(answered)
        self._wanted.set()
        await answered

    def _tell(self, why: str) -> None:
        if self.silent != bool(why):
            self.silent = bool(why)
            say({"head": why})

    def why(self, gpus: float, demand: dict[str, Any]) -> str:
        """Return why no node has been found: what none has at all, or what is not free."""
        if self.silent:
            return "Ray's head does not answer"
        wanted = {"GPU": gpus, "CPU": demand["cpus"], "memory": demand["memory"]}
        wanted = {name: count for name, count in wanted.items() if count}
        asks = ", ".join(_counted(name, count) for name, count in wanted.items())
        fitting = [node for node in self.nodes if all(node["Resources"].get(n, 0) >= c for n, c in wanted.items())]
        if not fitting:
            most = ", ".join(
                _counted(name, max((node["Resources"].get(name, 0) for node in self.nodes), default=0))
                for name in wanted
            )
            return f"it asks for {asks}, and none of Ray's {len(self.nodes)} nodes has that (the most are {most})"
        left = ", ".join(_counted(name, self.free.get(name, 0)) for name in wanted)
        return f"it asks for {asks}; {left} of Ray's {len(self.nodes)} nodes are free in all"


class Driver:
    """The conversation with the front, and the actors that it asked for."""

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._agent: Any = None
        self._watch = Watch()
        self._endings: set[asyncio.Future[None]] = set()

    async def run(self) -> None:
        """Do what the front says until it closes standard input. Raises ConnectionError without a cluster."""
        reader = asyncio.StreamReader(limit=1 << 20)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        ray.init(address=self._address or "auto", log_to_driver=False, configure_logging=False, namespace="torchserve")
        self._agent = _remote(Agent)
        self._watch.nodes, self._watch.free = _cluster()
        gpus = sum(node["Resources"].get("GPU", 0.0) for node in self._watch.nodes)
        say({"ready": ray.util.get_node_ip_address(), "nodes": len(self._watch.nodes), "gpus": gpus})
        watching = asyncio.create_task(self._watch.run(), name="Ray's head")
        while line := await reader.readline():
            message = json.loads(line)
            order = message["order"]
            if "demand" in message:
                self._tasks[order] = asyncio.create_task(self._place(message))
            elif task := self._tasks.pop(order, None):
                task.cancel()
        watching.cancel()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        if self._endings:
            await asyncio.wait(self._endings, timeout=_GIVING_BACK)

    async def _place(self, message: dict[str, Any]) -> None:
        """Place one worker, and tell what becomes of its place; the actor is ended when this is cancelled."""
        order, demand = message["order"], message["demand"]
        has_gpus = any(node["Resources"].get("GPU") for node in self._watch.nodes)
        gpus = demand["gpus"] if demand["gpus"] is not None else float(has_gpus)
        options: dict[str, Any] = {"num_cpus": demand["cpus"], "num_gpus": gpus, "scheduling_strategy": "SPREAD"}
        if demand["memory"]:
            options["memory"] = demand["memory"]
        actor = in_thread(lambda: self._agent.options(**options).remote())
        try:
            node, host = await self._placed(order, gpus, demand, self._started(actor, message["ticket"]))
            say({"order": order, "node": node[:12], "host": host, "gpus": gpus})
            await asyncio.wrap_future(actor.result().stay.remote().future())
            say({"order": order, "gone": "its minder has ended"})
        except Exception as error:  # noqa: BLE001  the front must hear of whatever Ray says
            # A head that is gone takes the nodes' Ray along a minute later. The worker there doesn't need it, and has
            # no other place to go to now.
            await self._watch.answer()
            say({"order": order, "gone": _first_line(error) or type(error).__name__})
        finally:
            actor.add_done_callback(self._end)

    async def _started(self, actor: asyncio.Future[Any], ticket: str) -> tuple[str, str]:
        """Have the actor start the minder as soon as it is there."""
        made = await asyncio.shield(actor)
        return await asyncio.wrap_future(made.start.remote(ticket).future())

    async def _placed(self, order: str, gpus: float, demand: dict[str, Any], starting: Any) -> tuple[str, str]:
        """Wait until the actor has started the minder; say why while it has no node."""
        started = asyncio.ensure_future(starting)
        try:
            while True:
                if self._watch.silent:
                    say({"order": order, "waits": self._watch.why(gpus, demand)})
                done, _ = await asyncio.wait([started], timeout=_POLL)
                if done:
                    return started.result()
                say({"order": order, "waits": self._watch.why(gpus, demand)})
        finally:
            started.cancel()

    def _end(self, actor: asyncio.Future[Any]) -> None:
        """Give an actor's place back, once the actor is there."""
        if actor.cancelled() or actor.exception() is not None:
            return
        ending = in_thread(lambda: ray.kill(actor.result()))
        self._endings.add(ending)
        ending.add_done_callback(self._ended)

    def _ended(self, ending: asyncio.Future[None]) -> None:
        self._endings.discard(ending)
        if not ending.cancelled():
            ending.exception()  # what was there to give back is gone


def in_thread(function: Callable[[], T]) -> asyncio.Future[T]:
    """Run `function` in a thread that keeps this process from ending for nothing, as it may wait for a minute."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if not future.done():
            future.set_result(result) if error is None else future.set_exception(error)  # type: ignore[arg-type]

    def work() -> None:
        try:
            result, error = function(), None
        except Exception as caught:  # noqa: BLE001  for who waits to judge
            result, error = None, caught
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, daemon=True).start()
    return future


def _remote(kind: type) -> Any:
    make: Any = ray.remote
    return make(max_restarts=0)(kind)


def _counted(name: str, count: float) -> str:
    return f"{count / (1 << 20):.0f} MiB of memory" if name == "memory" else f"{count:g} {name}"


def _cluster() -> tuple[list[dict[str, Any]], Mapping[str, float]]:
    """Return the nodes that are alive, and what is free of all nodes' resources. Blocks."""
    return [node for node in ray.nodes() if node["Alive"]], ray.available_resources()


def _first_line(error: BaseException) -> str:
    """Return what Ray says of an actor's end, without the paragraph of advice that follows."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:1] + [line for line in lines[1:] if line.startswith(("The actor", "The node"))])[:500]


def say(message: dict[str, Any]) -> None:
    """Tell the front something."""
    _OUTPUT.write(json.dumps(message) + "\n")
    _OUTPUT.flush()


_OUTPUT: Any = None


def main() -> int:
    """Run until the front closes standard input. Return the exit code."""
    global _OUTPUT  # noqa: PLW0603  what Ray itself prints must not come between
    _OUTPUT = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    try:
        asyncio.run(Driver(sys.argv[1] if len(sys.argv) > 1 else None).run())
    except (ConnectionError, RayError, RuntimeError, ValueError) as error:
        say({"failed": _first_line(error) or type(error).__name__})
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    _OUTPUT.flush()
    sys.stderr.flush()
    os._exit(code)  # what Ray does at an ordinary exit waits for the head, and it takes back what a lost process had
