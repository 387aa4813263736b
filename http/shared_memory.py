"""The front's side of shared memory regions: who may use them, and how a request's tensors are read and written.

Large tensors are read in steps, one per turn of the loop, and written by a thread, so that no request holds the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from ..core.errors import HandlerFailed, SharedMemoryDenied, TooLarge
from ..core.oip.region_tensors import STEP, Places, RegionTensors
from ..core.oip.regions import Regions
from ..core.payload import Payload, Reply
from .message.peer import Peer

if TYPE_CHECKING:
    from ..core.dataplane import DataPlane

_PAGES: Final = ("origin", "sec-fetch-site")  # headers that browsers send, and pages can't leave out
_PROXIES: Final = ("forwarded", "via", "x-forwarded-for", "x-real-ip")  # headers of what came for somebody else


def user_of(peer: object, fields: Mapping[str, str]) -> int:
    """Return the user whose process has made a request. `fields` are its headers. Raises SharedMemoryDenied."""
    if any(name in fields for name in _PAGES):
        raise SharedMemoryDenied("Web pages may not use shared memory.")
    if any(name in fields for name in _PROXIES):
        raise SharedMemoryDenied(
            "Shared memory is for clients on this server's machine, and a proxy has passed this request on for another."
            " Send tensors in binary form."
        )
    user = peer.user if isinstance(peer, Peer) else None
    if user is None:
        raise SharedMemoryDenied(
            "Shared memory is for clients on this server's machine, and the system can't tell which user of it this"
            " client is. Connect without a proxy between, or by a unix socket, or send tensors in binary form."
        )
    return user


def switched_on(regions: Regions | None) -> Regions:
    """Return the regions of a listener. Raises SharedMemoryDenied where they are off."""
    if regions is None:
        raise SharedMemoryDenied(
            "Shared memory is off here. It is for inference addresses that no other machine reaches (loopback, unix:)."
            " open_inference_shared_memory=true lets clients on this machine use it at the others, too. Or send tensors"
            " in binary form."
        )
    return regions


def opened(
    places: Places, regions: Regions | None, peer: object, fields: Mapping[str, str], size: int, most: int
) -> RegionTensors:
    """Return the tensors of a request, of whose body `size` bytes have come and which may have `most` in all.

    Raises SharedMemoryDenied, BadRequest, TooLarge.
    """
    found = switched_on(regions)
    user = user_of(peer, fields)
    if size + places.size > most:
        raise TooLarge(
            f"The request has {size} bytes and {places.size} in shared memory, and at most {most} are accepted in all"
            " (max_request_size)."
        )
    return places.open(found, user)


def load(
    tensors: RegionTensors, payload: Payload, plane: DataPlane, model: str, version: str | None
) -> Generator[None, None, Payload]:
    """Return the steps that read a request's inputs to where its model's workers read them, and end with its payload.

    Meanwhile their bytes count as those of a body that arrives. The steps raise ServeError.
    """
    with plane.expect(model, version) as arrival:
        arrival.grow(tensors.places.size)
        return (yield from tensors.load(payload, partial(plane.room, model, version)))


def store(
    tensors: RegionTensors, reply: Reply, done: Callable[[Reply], None], fail: Callable[[BaseException], None]
) -> None:
    """Write a reply's outputs to their regions, and call `done` with the rest of it: now, or after a thread's work."""
    if len(reply.body) <= STEP:
        try:
            made = tensors.store(reply)
        except Exception as error:  # noqa: BLE001  (the client is owed an answer, whatever broke)
            fail(error)
        else:
            done(made)
        return
    tensors.keep()
    work = asyncio.get_running_loop().run_in_executor(None, tensors.store, reply)
    work.add_done_callback(partial(_stored, tensors, done, fail))


def _stored(
    tensors: RegionTensors,
    done: Callable[[Reply], None],
    fail: Callable[[BaseException], None],
    work: asyncio.Future[Reply],
) -> None:
    tensors.release()
    error = asyncio.CancelledError() if work.cancelled() else work.exception()
    if error is None:
        done(work.result())
    else:
        fail(error)


def streamed() -> HandlerFailed:
    """Return the error for outputs that would be overwritten by the next piece of their answer."""
    return HandlerFailed("A handler that streams its answer can't write outputs to shared memory.", 500)
