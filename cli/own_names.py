"""What this machine is called: the names by which a request may ask for it, beside its addresses."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from threading import Thread

_PATIENCE = 2.0  # seconds: a start does not wait for a name server that is away


async def own_names(
    hostname: Callable[[], str] = socket.gethostname,
    resolve: Callable[[str], tuple[str, list[str], list[str]]] = socket.gethostbyaddr,
    patience: float = _PATIENCE,
) -> frozenset[str]:
    """Return the machine's name, and those that the resolver (/etc/hosts, then DNS) has for it, in lower case.

    A resolver that takes over `patience` seconds is not waited for.
    """
    name = hostname()
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()
    # No executor's thread: asyncio would wait for those at its end.
    Thread(target=_look_up, args=(name, resolve, loop, found), name="own-names", daemon=True).start()
    try:
        others = await asyncio.wait_for(found, patience)
    except TimeoutError:
        others = []
    return frozenset(each.lower().removesuffix(".") for each in (name, *others) if each)


def _look_up(
    name: str,
    resolve: Callable[[str], tuple[str, list[str], list[str]]],
    loop: asyncio.AbstractEventLoop,
    found: asyncio.Future[list[str]],
) -> None:
    try:
        full, aliases, _ = resolve(name)
        names = [full, *aliases]
    except OSError:
        names = []
    try:
        loop.call_soon_threadsafe(_settle, found, names)
    except RuntimeError:
        return  # the loop has ended meanwhile


def _settle(found: asyncio.Future[list[str]], names: list[str]) -> None:
    if not found.done():
        found.set_result(names)
