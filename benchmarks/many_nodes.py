"""What 1,000 workers on 200 nodes cost the front: `python -m benchmarks.many_nodes`. Nothing but the front is real.

Nodes and workers are simulated under virtual time: signs of life come and go, requests arrive at a steady rate and
batches take a drawn time, nodes are lost and their workers replaced. What is printed is the processor time of the
front's tables and decisions: the links' beats, the scheduler's batches, tickets and keys, and what a lost node costs.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

from torchserve.core.wire.frames import encode
from torchserve.core.wire.remote_messages import Alive, FromMinder, Hello
from torchserve.core.workers.remote.minder_link import MinderLink
from torchserve.core.workers.remote.one_time_keys import OneTimeKeys
from torchserve.core.workers.remote.tickets import Tickets
from torchserve.scheduler.job import Batch, Job
from torchserve.scheduler.model_scheduler import ModelScheduler
from torchserve.scheduler.policy import BatchPolicy
from torchserve.scheduler.virtual_time import VirtualLoop

BEAT = 5.0  # seconds
_BATCH = 32


class _Wire:
    """A transport that only counts; the minder behind it answers each sign of life while it is alive."""

    def __init__(self) -> None:
        self.sent = 0
        self.link: MinderLink | None = None
        self.alive = True

    def set_protocol(self, protocol: MinderLink) -> None:
        self.link = protocol

    def is_closing(self) -> bool:
        return False

    def writelines(self, buffers: object) -> None:
        self.sent += 1
        if self.alive and self.link is not None:
            asyncio.get_running_loop().call_later(0.001, _hear, self.link)

    def close(self) -> None:
        self.alive = False

    abort = close


_ALIVE = b"".join(map(bytes, encode(Alive(1 << 30))))


def _hear(link: MinderLink) -> None:
    room = link.get_buffer(-1)
    room[: len(_ALIVE)] = _ALIVE
    link.buffer_updated(len(_ALIVE))


class _Worker:
    """A runner on a node, whose batches take a drawn time. It counts what it was told."""

    device = "remote"

    def __init__(self, name: str, scheduler: ModelScheduler, draw: random.Random) -> None:
        self.name = name
        self.losses = 0
        self.running: Batch | None = None
        self._scheduler = scheduler
        self._draw = draw
        self.link = MinderLink(_wire(), self, BEAT)
        scheduler.attach(self)

    def receive(self, message: FromMinder) -> None:
        return

    def lost(self, reason: str) -> None:
        self.losses += 1
        self._scheduler.detach(self)
        if self.running is not None:
            self._scheduler.fail(self.running, ConnectionError(reason))

    def run(self, batch: Batch) -> None:
        self.running = batch
        asyncio.get_running_loop().call_later(self._draw.uniform(0.02, 0.06), self._done, batch)

    def batch_started(self, batch: Batch) -> None:
        self.running = batch

    def _done(self, batch: Batch) -> None:
        if not self.losses:
            self._scheduler.finish(batch, [None] * len(batch.jobs))


_wire: Callable[[], Any] = _Wire


class _Count:
    """A sink that counts answers and failures."""

    def __init__(self) -> None:
        self.answered = self.failed = 0

    def chunk(self, item: object) -> None:
        return

    def done(self, item: object) -> None:
        self.answered += 1

    def fail(self, error: Exception) -> None:
        self.failed += 1


async def simulate(workers: int, nodes: int, seconds: int, rate: int, losses: int) -> list[tuple[str, str]]:
    """Return what `seconds` of virtual time cost, with `rate` requests a second and so many lost nodes."""
    draw = random.Random(1)
    scheduler = ModelScheduler(BatchPolicy(batch_size=_BATCH, max_batch_delay=0.01, queue_size=100_000))
    began = time.process_time()
    made = [_Worker(f"W-{number}", scheduler, draw) for number in range(workers)]
    attached = time.process_time() - began
    began = time.process_time()
    await asyncio.sleep(seconds)
    beats = time.process_time() - began
    count = _Count()
    began = time.process_time()
    sent = 0
    for tick in range(seconds * 20):
        for _ in range(rate // 20):
            scheduler.submit(Job("r", None, count))
            sent += 1
        if losses and tick % (seconds * 20 // losses) == 1:
            _lose(made, workers // nodes, scheduler, draw)
        await asyncio.sleep(0.05)
    await scheduler.idle()
    serving = time.process_time() - began
    lost = sum(worker.losses for worker in made)
    for worker in made:
        worker.link.close()
    return [
        (f"{workers} workers attached", f"{attached * 1e3:.1f} ms"),
        ("signs of life, share of a core", f"{beats / seconds:.2%}"),
        (f"requests served in batches of up to {_BATCH}", f"{(serving - beats) / sent * 1e6:.1f} us each"),
        ("workers lost with their nodes, replaced", f"{lost}, each once: {all(w.losses < 2 for w in made)}"),
        ("requests sent, answered, failed with a node", f"{sent}, {count.answered}, {count.failed}"),
    ]


def _lose(made: list[_Worker], per_node: int, scheduler: ModelScheduler, draw: random.Random) -> None:
    """Cut off the node of the oldest workers that live, and start as many elsewhere."""
    for worker in [each for each in made if not each.losses][:per_node]:
        worker.lost("its node was cut off")
        worker.link.close()
        made.append(_Worker(f"W-{len(made)}", scheduler, draw))


def starts(count: int) -> list[tuple[str, str]]:
    """Return what the tickets and keys of `count` starts cost."""
    keys, tickets = OneTimeKeys(), Tickets[None]()
    began = time.process_time()
    issued = [keys.issue(f"W-{number}") for number in range(count)]
    making = time.process_time() - began
    began = time.process_time()
    for number, key in enumerate(issued):
        nonce = tickets.issue(f"W-{number}", number, key.fingerprint, None)
        tickets.redeem(Hello(f"W-{number}", number, nonce, 1, "h"), key.fingerprint)
    redeeming = time.process_time() - began
    return [
        ("a worker's key and certificate", f"{making / count * 1e6:.0f} us"),
        ("a nonce issued and redeemed", f"{redeeming / count * 1e6:.1f} us"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=60, help="of virtual time")
    parser.add_argument("--rate", type=int, default=10_000, help="requests a second")
    parser.add_argument("--losses", type=int, default=10, help="nodes that are lost")
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        rows = runner.run(simulate(given.workers, given.nodes, given.seconds, given.rate, given.losses))
    print("| what | cost |\n|---|---|")
    for what, cost in [*rows, *starts(given.workers)]:
        print(f"| {what} | {cost} |")


if __name__ == "__main__":
    main()
