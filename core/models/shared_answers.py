"""SharedAnswers: the answers of one model version that other servers keep, too, in an AnswerStore.

A value is under a hash of the model, its version, what is in its archive, and the request's key. The value says all of
that once more, so that an answer is never given for another question, whatever is found under the key.

Each model version has an epoch in the store, a random number; a value says in which it was made, and counts in that one
only. To purge is to begin another epoch, for all servers at once. While the store doesn't take the new one, nothing is
read from it and nothing kept in it. Where there is none, because it is new or was evicted, one is begun, too.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from hashlib import blake2b
from time import time
from typing import Final

import msgspec

from ..payload import Reply
from .answer_store import LARGEST, AnswerStore

log = logging.getLogger(__name__)

_LIFE: Final = 32 * 86400.0  # s that an epoch is kept: longer than any value
RESULTS: tuple[str, ...] = ("hit", "miss", "none")


class _Kept(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A value: whose answer to what it is, in which epoch it was made, until when (s since 1970) it is good, and it."""

    subject: bytes
    key: bytes
    epoch: bytes
    expires: float
    content_type: str | None
    headers: tuple[tuple[str, str], ...]
    body: bytes


_DECODE = msgspec.msgpack.Decoder(_Kept)


class SharedAnswers:
    """The answers of one model version in a store. `results` counts what look-ups found: hit, miss, or none where the
    store didn't answer."""

    def __init__(self, store: AnswerStore, subject: bytes) -> None:
        """`subject` is a hash of all that the answers depend on beside the request."""
        self._store = store
        self._subject = subject
        self._epoch = b""
        self._purging = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.results = dict.fromkeys(RESULTS, 0)

    @property
    def _epoch_key(self) -> bytes:
        return b"torchserve:epoch:" + self._subject.hex().encode()

    def _place(self, key: bytes) -> bytes:
        return b"torchserve:answer:" + blake2b(self._subject + key, digest_size=24).hexdigest().encode()

    @property
    def epoch(self) -> bytes:
        """The epoch that answers belong to whose computation begins now, b"" if that isn't known."""
        return self._epoch

    @property
    def may_ask(self) -> bool:
        """Whether the store is worth a look."""
        return self._store.may_ask

    def look_up(self, key: bytes, then: Callable[[Reply | None, float], None]) -> None:
        """Look for an answer, and call `then` with it and the seconds for which it is good, or with None and 0."""
        self._do(self._look_up(key, then))

    async def _look_up(self, key: bytes, then: Callable[[Reply | None, float], None]) -> None:
        try:
            reply, left = await self._find(key)
        except Exception:
            log.exception("A look-up in the cache's Redis failed, and its answer is computed")
            reply, left = None, 0.0
        then(reply, left)

    async def _find(self, key: bytes) -> tuple[Reply | None, float]:
        if self._purging and not await self._begin_epoch():
            self.results["none"] += 1
            return None, 0.0
        found = await self._store.get(self._epoch_key, self._place(key))
        if found is None:
            self.results["none"] += 1
            return None, 0.0
        self._epoch, value = found
        if not self._epoch:
            await self._begin_epoch()
        reply, left = self._read(key, value)
        self.results["miss" if reply is None else "hit"] += 1
        return reply, left

    def _read(self, key: bytes, value: bytes) -> tuple[Reply | None, float]:
        if not value or len(value) > LARGEST or not self._epoch:
            return None, 0.0
        try:
            kept = _DECODE.decode(value)
        except msgspec.DecodeError:
            return None, 0.0
        left = kept.expires - time()
        if (kept.subject, kept.key, kept.epoch) != (self._subject, key, self._epoch) or left <= 0:
            return None, 0.0
        return Reply(kept.body, content_type=kept.content_type, headers=kept.headers), left

    def keep(self, key: bytes, reply: Reply, seconds: float, epoch: bytes) -> None:
        """Keep an answer whose computation began in `epoch` for so many seconds."""
        if not epoch or epoch != self._epoch or len(reply.body) > LARGEST:
            return
        kept = _Kept(self._subject, key, epoch, time() + seconds, reply.content_type, reply.headers, bytes(reply.body))
        try:
            value = msgspec.msgpack.encode(kept)
        except UnicodeEncodeError:  # a header of half characters
            return
        if len(value) <= LARGEST:
            self._do(self._put(self._place(key), value, seconds))

    async def _put(self, place: bytes, value: bytes, seconds: float) -> None:
        await self._store.put(place, value, seconds)

    def purge(self) -> None:
        """Have nothing that is kept by now be given again, by any server, from the store's next answer on."""
        self._epoch = b""
        self._purging = True
        self._do(self._purge())

    async def _purge(self) -> None:
        await self._begin_epoch()

    def _do(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _begin_epoch(self) -> bool:
        """Begin another epoch; return whether the store has taken it."""
        epoch = os.urandom(16)
        taken = await self._store.put(self._epoch_key, epoch, _LIFE)
        if taken:
            self._epoch, self._purging = epoch, False
        return taken
