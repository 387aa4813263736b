"""The simulation of many nodes accounts for every request, and loses each worker once."""

from __future__ import annotations

import asyncio

from benchmarks.many_nodes import simulate, starts
from torchserve.scheduler.virtual_time import VirtualLoop


def test_every_request_is_answered_or_fails_with_its_node() -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        rows = dict(runner.run(simulate(workers=20, nodes=4, seconds=10, rate=2000, losses=2)))
    sent, answered, failed = map(int, rows["requests sent, answered, failed with a node"].split(", "))
    assert (sent, failed > 0) == (20_000, True)
    assert answered + failed == sent
    assert rows["workers lost with their nodes, replaced"] == "10, each once: True"


def test_every_start_has_a_key_and_a_nonce_of_its_own() -> None:
    assert [what for what, _ in starts(3)] == ["a worker's key and certificate", "a nonce issued and redeemed"]
