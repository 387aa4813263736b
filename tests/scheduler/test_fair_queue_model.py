"""A fair queue under random use: nothing is lost, doubled or out of a client's order, and weights hold."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.scheduler.job import Job
from torchserve.scheduler.policy import SharePolicy

from .clients import Clients

Step = tuple[str, str, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "take", "remove", "requeue", "settle", "displace"]),
        st.sampled_from("abcdef"),
        st.integers(1, 5),
        st.sampled_from([0, 0, 0, 1]),
    ),
    max_size=80,
)
POLICIES = st.sampled_from([
    SharePolicy(), SharePolicy({"a": 5.0, "b": 0.1}), SharePolicy({"a": 1.0}, 2.0, others=0.5), SharePolicy({}, others=1.0),
])  # fmt: skip


@given(STEPS, POLICIES, st.sampled_from([1, 2, 1000]))
def test_nothing_is_lost_doubled_or_out_of_a_clients_order(steps: list[Step], policy: SharePolicy, most: int) -> None:
    clients = Clients(policy, most)
    waiting: dict[int, Job] = {}

    def leaves(jobs: tuple[Job, ...], *, last: bool = False) -> None:
        for each in jobs:
            del waiting[each.seq]  # a KeyError if it had left before
        for each in () if last else jobs:
            earlier = [job for job in waiting.values() if (job.client, job.priority) == (each.client, each.priority)]
            assert all(job.seq > each.seq for job in earlier), "a client's jobs keep their order"

    for what, client, number, priority in steps:
        if what == "add":
            waiting |= {each.seq: each for each in clients.add(client, *[number] * number, priority=priority)}
        elif what == "settle":
            clients.queue.settle(client, number)
        elif not waiting:
            continue
        elif what == "remove":
            gone = waiting.pop(list(waiting)[number % len(waiting)])
            assert clients.queue.remove(gone)
        elif what == "displace":
            costs = Counter[str]()
            for each in waiting.values():
                costs[each.client] += each.cost
            gone = clients.displaced_by(client, put_back=False)
            if gone is not None:
                leaves((gone,), last=True)
            if gone is not None and policy.others is None and most > 6:
                weights = {each: policy.listed.get(each, policy.default) for each in "abcdef"}
                measures = {each: costs[each] / weights[each] for each in costs}
                assert measures[gone.client] == pytest.approx(max(measures.values()))
                assert measures[gone.client] > (costs[client] + 1) / weights[client]
        else:
            expected = tuple(list(clients.queue)[:number])
            assert clients.queue.take(len(expected)) == expected, "they are served as was said"
            if what == "requeue":
                order = [job for job in clients.queue if job.client == expected[0].client]
                clients.queue.requeue(expected)
                again = [job for job in clients.queue if job.client == expected[0].client]
                assert again == [job for job in expected if job.client == expected[0].client] + order
            else:
                leaves(expected)
        assert len(clients.queue) == len(waiting) == len(list(clients.queue))
        if waiting:
            assert clients.queue.first in waiting.values()
            assert clients.queue.oldest_arrival == min(each.arrived for each in waiting.values())
    assert sorted(each.seq for each in clients.served()) == sorted(waiting)
    assert not clients.queue._turns.shares


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 2000)), min_size=1, max_size=60),
    st.sampled_from([1.0, 0.25, 8.0]),
)
def test_clients_that_wait_are_served_by_weight_to_within_a_job(jobs: list[tuple[str, int]], weight: float) -> None:
    clients = Clients(SharePolicy({"a": weight}))
    weights = {"a": weight, "b": 1.0, "c": 1.0}
    waiting: Counter[str] = Counter()
    for client, cost in jobs:
        clients.add(client, cost)
        waiting[client] += 1
    got: Counter[str] = Counter(dict.fromkeys(waiting, 0))
    largest = max(cost for _, cost in jobs)
    while clients.queue and all(waiting.values()):
        (job,) = clients.queue.take(1)
        waiting[job.client] -= 1
        got[job.client] += job.cost
        measures = {client: got[client] / weights[client] for client in got}
        for one in got:
            for other in got:
                most = largest / weights[one] + largest / weights[other]
                assert measures[one] - measures[other] <= most * (1 + 1e-9)
    assert len(clients.queue) == sum(waiting.values())
