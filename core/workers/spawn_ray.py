"""The engine `ray`: a process of its own that speaks with Ray, so that the front never does; no other file knows Ray.

    python -m torchserve.core.workers.spawn_ray [ADDRESS]

It is told on standard input, and tells on standard output, lines of JSON (core.workers.remote.ray_placer is the other
end). Ray ends a process that has lost the cluster's head for a minute: so it may end this one, while the front and the
workers go on. For each worker there is one actor, which holds its GPUs, cores and memory in Ray's books and starts the
worker's minder in a session of its own: what ends the actor, or the node's Ray, does not end the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
from typing import Any, Final

import ray  # pyright: ignore[reportMissingImports]  # an extra
from ray.exceptions import RayError  # pyright: ignore[reportMissingImports]

log = logging.getLogger(__name__)

_POLL: Final = 2.0  # seconds between two looks at why an actor isn't placed
_GRACE: Final = 5.0  # seconds in which Ray must have connected to a cluster that answers
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


class Driver:
    """The conversation with the front, and the actors that it asked for."""

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._agent: Any = None

    async def run(self) -> None:
        """Do what the front says until it closes standard input. Raises ConnectionError without a cluster."""
        reader = asyncio.StreamReader(limit=1 << 20)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        ray.init(address=self._address or "auto", log_to_driver=False, configure_logging=False, namespace="torchserve")
        self._agent = _remote(Agent)
        say({"ready": ray.util.get_node_ip_address(), "nodes": len(_nodes()), "gpus": _total("GPU")})
        while line := await reader.readline():
            message = json.loads(line)
            order = message["order"]
            if "demand" in message:
                self._tasks[order] = asyncio.create_task(self._place(message))
            elif task := self._tasks.pop(order, None):
                task.cancel()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _place(self, message: dict[str, Any]) -> None:
        """Place one worker, and tell what becomes of its place; the actor is ended when this is cancelled."""
        order, demand = message["order"], message["demand"]
        gpus = demand["gpus"] if demand["gpus"] is not None else float(_total("GPU") > 0)
        options: dict[str, Any] = {"num_cpus": demand["cpus"], "num_gpus": gpus, "scheduling_strategy": "SPREAD"}
        if demand["memory"]:
            options["memory"] = demand["memory"]
        actor: Any = None
        try:
            actor = self._agent.options(**options).remote()
            node, host = await self._placed(order, gpus, demand, actor.start.remote(message["ticket"]))
            say({"order": order, "node": node[:12], "host": host, "gpus": gpus})
            await asyncio.wrap_future(actor.stay.remote().future())
            say({"order": order, "gone": "its minder has ended"})
        except RayError as error:
            say({"order": order, "gone": _first_line(error)})
        finally:
            if actor is not None:
                with contextlib.suppress(Exception):
                    ray.kill(actor)

    async def _placed(self, order: str, gpus: float, demand: dict[str, Any], reference: Any) -> tuple[str, str]:
        """Wait until the actor has started the minder; say why while it has no node."""
        started = asyncio.wrap_future(reference.future())
        while True:
            done, _ = await asyncio.wait([started], timeout=_POLL)
            if done:
                return started.result()
            say({"order": order, "waits": _why(gpus, demand)})


def _remote(kind: type) -> Any:
    make: Any = ray.remote
    return make(max_restarts=0)(kind)


def _why(gpus: float, demand: dict[str, Any]) -> str:
    """Return why no node has been found: what none has at all, or what is not free."""
    nodes = _nodes()
    wanted = {"GPU": gpus, "CPU": demand["cpus"], "memory": demand["memory"]}
    wanted = {name: count for name, count in wanted.items() if count}
    asks = ", ".join(_counted(name, count) for name, count in wanted.items())
    fitting = [node for node in nodes if all(node["Resources"].get(n, 0) >= c for n, c in wanted.items())]
    if not fitting:
        most = ", ".join(
            _counted(name, max((node["Resources"].get(name, 0) for node in nodes), default=0)) for name in wanted
        )
        return f"it asks for {asks}, and none of Ray's {len(nodes)} nodes has that (the most are {most})"
    free = ray.available_resources()
    left = ", ".join(_counted(name, free.get(name, 0)) for name in wanted)
    return f"it asks for {asks}; {left} of Ray's {len(nodes)} nodes are free in all"


def _counted(name: str, count: float) -> str:
    return f"{count / (1 << 20):.0f} MiB of memory" if name == "memory" else f"{count:g} {name}"


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _total(name: str) -> float:
    return ray.cluster_resources().get(name, 0.0)


def _first_line(error: Exception) -> str:
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
    sys.exit(main())
