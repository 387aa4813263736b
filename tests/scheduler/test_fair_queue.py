"""Turns of clients by what their jobs cost: nobody waits behind another's backlog, whatever is asked in which sizes."""

from __future__ import annotations

from collections import Counter
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.scheduler.fair_queue import QUANTUM, FairQueue
from torchserve.scheduler.job import Job

from .doubles import job as plain_job


class Clients:
    """A queue and what is put into it."""

    def __init__(self) -> None:
        self.queue = FairQueue()
        self._numbers = count(1)

    def add(self, client: str, *costs: int, priority: int = 0, expires: float | None = None) -> list[Job]:
        made = []
        for cost in costs:
            number = next(self._numbers)
            made.append(
                plain_job(
                    f"{client}{number}", float(number) / 1000, expires, client=client, cost=cost, priority=priority
                )
            )
            made[-1].seq = number
            self.queue.add(made[-1])
        return made

    def served(self, most: int = 10_000) -> list[Job]:
        found: list[Job] = []
        while self.queue and len(found) < most:
            found.append(self.queue.next())
            self.queue.take(found[-1])
        return found


def names(jobs: list[Job]) -> str:
    return "".join(each.client for each in jobs)


def test_one_client_is_served_in_order_and_by_priority() -> None:
    clients = Clients()
    first, second = clients.add("a", 1000, 10)
    (urgent,) = clients.add("a", 5, priority=-1)
    assert clients.served() == [urgent, first, second]
    assert len(clients.queue) == 0


def test_two_clients_of_equal_jobs_take_turns() -> None:
    clients = Clients()
    clients.add("a", *[QUANTUM] * 4)
    clients.add("b", *[QUANTUM] * 2)
    assert names(clients.served()) == "ababaa"


def test_many_small_jobs_are_worth_one_large_one() -> None:
    clients = Clients()
    clients.add("a", *[4 * QUANTUM] * 3)
    clients.add("b", *[QUANTUM] * 12)
    served = clients.served(10)
    assert Counter(names(served)) == {"a": 2, "b": 8}


def test_a_job_far_over_a_rounds_credit_takes_no_walk_through_the_rounds() -> None:
    clients = Clients()
    clients.add("a", 10**12, 1)
    clients.add("b", 10**12 + 5 * QUANTUM)
    assert names(clients.served()) == "aab"


def test_a_late_client_is_next_after_at_most_one_job_of_each_other() -> None:
    clients = Clients()
    clients.add("a", *[900] * 50)
    clients.served(10)
    clients.add("b", 100)
    assert "b" in names(clients.served(2))


def test_credit_is_not_saved_up_while_nothing_waits() -> None:
    clients = Clients()
    clients.add("a", 1)
    clients.queue.settle("a", 10**9)
    clients.served()
    clients.add("a", *[QUANTUM] * 4)
    clients.add("b", *[QUANTUM] * 4)
    assert Counter(names(clients.served(4))) == {"a": 2, "b": 2}


def test_what_a_job_did_not_cost_is_made_good() -> None:
    clients = Clients()
    clients.add("a", *[QUANTUM] * 8)
    clients.add("b", *[QUANTUM] * 8)
    clients.served(2)
    clients.queue.settle("b", 2 * QUANTUM)
    clients.queue.settle("nobody", 2 * QUANTUM)
    assert Counter(names(clients.served(6))) == {"b": 4, "a": 2}


def test_a_job_that_leaves_is_not_charged() -> None:
    clients = Clients()
    gone, stays = clients.add("a", 50, 60)
    assert clients.queue.remove(gone)
    assert not clients.queue.remove(gone)
    assert not clients.queue.remove(plain_job("x", 0.0, client="nobody"))
    assert (clients.queue.next(), len(clients.queue)) == (stays, 1)


def test_what_waits_before_a_new_job_is_its_own_and_a_turn_of_each_other() -> None:
    clients = Clients()
    clients.add("a", 100, 100)
    clients.add("b", *[1000] * 9)
    clients.add("c", 30)

    def before(client: str, cost: int, priority: int = 0) -> float:
        return clients.queue.cost_before(plain_job("x", 1.0, client=client, cost=cost, priority=priority))

    assert before("d", 50) == 50 + 50 + 30
    assert before("a", 50) == 200 + 250 + 30
    assert before("a", 50, priority=-1) == 0 + 50 + 30
    assert before("b", 50) == 9000 + 200 + 30


def test_a_burst_fills_the_queue_for_itself_only() -> None:
    clients = Clients()
    burst = clients.add("a", *[100] * 5)
    clients.add("b", 300)

    def displaced(client: str, cost: int) -> Job | None:
        return clients.queue.displaced_by(plain_job("x", 1.0, client=client, cost=cost))

    assert displaced("c", 499) is burst[-1]
    assert displaced("c", 500) is None
    assert displaced("b", 199) is burst[-1]
    assert displaced("b", 200) is None
    assert displaced("a", 1) is None


def test_expired_jobs_leave() -> None:
    clients = Clients()
    assert clients.queue.next_expiry is None
    clients.add("a", 1, 1)
    (soon,) = clients.add("a", 1, expires=5.0)
    (later,) = clients.add("b", 1, expires=6.0)
    assert clients.queue.next_expiry == 5.0
    assert list(clients.queue.expire(4.9)) == []
    assert list(clients.queue.expire(6.0)) == [soon, later]
    assert names(clients.served()) == "aa"


def test_cleared_by_arrival() -> None:
    clients = Clients()
    jobs = [*clients.add("a", 1), *clients.add("b", 1), *clients.add("a", 1)]
    assert clients.queue.clear() == jobs
    assert len(clients.queue) == 0
    assert clients.queue.clear() == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 2000)), min_size=1, max_size=60))
def test_clients_that_wait_get_the_same_to_within_a_job_and_a_round(jobs: list[tuple[str, int]]) -> None:
    clients = Clients()
    waiting: Counter[str] = Counter()
    for client, cost in jobs:
        clients.add(client, cost)
        waiting[client] += 1
    got: Counter[str] = Counter(dict.fromkeys(waiting, 0))
    largest = max(cost for _, cost in jobs)
    total = 0
    while clients.queue and all(waiting.values()):
        job = clients.queue.next()
        assert clients.queue.next() is job
        clients.queue.take(job)
        waiting[job.client] -= 1
        got[job.client] += job.cost
        total += job.cost
        assert max(got.values()) - min(got.values()) <= 2 * (QUANTUM + largest)
    assert len(clients.queue) == sum(waiting.values())


@pytest.mark.parametrize("quiet", [50, 400])
def test_a_noisy_neighbour_at_three_times_the_capacity(quiet: int) -> None:
    """One step serves 1,000 tokens; the noisy client asks for 3,000 in each, the quiet one for little in every fifth."""
    clients = Clients()
    waits: list[int] = []
    sent: dict[Job, int] = {}
    budget = 0
    for step in range(500):
        clients.add("n", *[300] * 10)
        if step % 5 == 0:
            sent[clients.add("q", quiet)[0]] = step
        budget += 1000
        while clients.queue and (job := clients.queue.next()).cost <= budget:
            clients.queue.take(job)
            budget -= job.cost
            if job in sent:
                waits.append(step - sent.pop(job))
    assert len(waits) == 100
    assert max(waits) <= 1
