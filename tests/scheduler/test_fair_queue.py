"""Turns of clients by what their jobs cost: nobody waits behind another's backlog, whatever is asked in which sizes."""

from __future__ import annotations

from collections import Counter

import pytest

from torchserve.scheduler.fair_queue import ALONE_AFTER
from torchserve.scheduler.job import Job
from torchserve.scheduler.policy import SharePolicy

from .clients import Clients, names
from .doubles import job as plain_job

QUANTUM = 256


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


def test_weights_say_how_many_turns_each_has() -> None:
    clients = Clients(SharePolicy({"a": 3.0}, default=0.5))
    clients.add("a", *[1] * 12)
    clients.add("b", *[1] * 12)
    assert Counter(names(clients.served(14))) == {"a": 12, "b": 2}


def test_a_late_client_is_next_after_at_most_one_job_of_each_other() -> None:
    clients = Clients()
    clients.add("a", *[900] * 50)
    clients.served(10)
    clients.add("b", 100)
    assert "b" in names(clients.served(2))


def test_a_heavy_neighbour_takes_no_client_its_next_turn() -> None:
    clients = Clients(SharePolicy({"a": 100.0}))
    clients.add("a", *[1] * 50)
    clients.served(10)
    clients.add("b", 1)
    assert "b" in names(clients.served(2))


def test_nobody_gets_ahead_by_sending_one_job_after_the_other() -> None:
    clients = Clients()
    for client in "abcd":
        clients.add(client, *[1] * 50)
    got = 0
    for _ in range(50):
        if "x" not in clients.queue._turns.shares or not clients.queue._turns.shares["x"].waiting:
            clients.add("x", 1)
        got += names(clients.served(1)) == "x"
    assert got == 10


def test_a_client_that_was_ahead_when_its_last_job_went_is_still_ahead_with_its_next() -> None:
    clients = Clients()
    clients.add("a", 3)
    clients.add("b", *[1] * 6)
    assert names(clients.served(1)) == "a"
    clients.add("a", 1)
    assert names(clients.served()) == "bbbabbb"


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


def test_estimates_that_are_always_too_high_put_no_newcomer_behind() -> None:
    clients = Clients()
    clients.add("a", *[1000] * 500)
    for _ in range(400):
        clients.served(1)
        clients.queue.settle("a", 990)
    clients.add("b", 1000)
    assert "b" in names(clients.served(2))


def test_a_job_that_leaves_is_not_charged() -> None:
    clients = Clients()
    gone, stays = clients.add("a", 50, 60)
    assert clients.queue.remove(gone)
    assert not clients.queue.remove(gone)
    assert not clients.queue.remove(plain_job("x", 0.0, client="nobody"))
    assert (clients.queue.first, len(clients.queue)) == (stays, 1)


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


def test_what_waits_before_a_new_job_goes_by_weights_and_by_the_group() -> None:
    clients = Clients(SharePolicy({"a": 2.0}, others=1.0))
    clients.one_of_each("aaaaaaaaa" + "bbb" + "ccc")
    assert clients.queue.count_before(clients.new("a")) == 9 + 5
    assert clients.queue.count_before(clients.new("d")) == 2 + 6
    assert clients.queue.count_before(clients.new("b")) == 3 + 3 + 9


def test_a_burst_fills_the_queue_for_itself_only() -> None:
    clients = Clients()
    burst = clients.add("a", *[100] * 5)
    clients.add("b", 300)
    assert clients.displaced_by("c", 499) is burst[-1]
    assert clients.displaced_by("c", 500) is None
    assert clients.displaced_by("b", 199) is burst[-1]
    assert clients.displaced_by("b", 200) is None
    assert clients.displaced_by("a", 1) is None


def test_of_several_backlogs_the_longest_for_its_weight_gives_way() -> None:
    clients = Clients(SharePolicy({"a": 10.0}))
    clients.add("a", *[1] * 20)
    b, c = clients.add("b", *[1] * 4), clients.add("c", *[1] * 6)
    assert clients.displaced_by("d") is c[-1]
    clients.served(12)
    clients.queue.remove(c[5])
    clients.queue.remove(c[4])
    clients.queue.remove(c[3])
    assert clients.displaced_by("d") is b[-1]
    clients.add("c", 1, 1)
    for each in b:
        clients.queue.remove(each)
    assert clients.displaced_by("d") is not None


def test_who_has_to_go_is_the_last_by_priority() -> None:
    clients = Clients()
    (last,) = clients.add("a", 1, priority=5)
    clients.add("a", 1, 1)
    assert clients.displaced_by("b") is last


def test_there_is_no_room_before_workers_were_offered_what_has_come() -> None:
    clients = Clients()
    clients.add("a", 1, 1, 1)
    assert not clients.queue.make_room(clients.new("b"))
    assert clients.queue.displaced() == []
    assert clients.queue.make_room(clients.new("b"))


def test_a_displaced_job_that_was_cancelled_hears_nothing() -> None:
    clients = Clients()
    *_, last = clients.add("a", 1, 1, 1)
    clients.queue.displaced()
    assert clients.queue.make_room(clients.new("b"))
    last.cancelled = True
    assert clients.queue.displaced() == []


def test_the_longest_backlog_is_found_however_often_it_changes() -> None:
    clients = Clients()
    jobs = {client: clients.add(client, *[1] * 40) for client in "abc"}
    for turn in range(200):  # each backlog grows and shrinks: old entries are swept out
        client = "abc"[turn % 3]
        clients.queue.remove(jobs[client].pop())
        jobs[client] += clients.add(client, 1)
    jobs["b"] += clients.add("b", 1)
    assert len(clients.queue._turns._backlogs) < 100
    assert clients.displaced_by("d") is jobs["b"][-1]


# ---- clients that are not listed


def test_invented_clients_have_one_share_together() -> None:
    clients = Clients(SharePolicy({"known": 1.0}, others=1.0))
    for number in range(50):
        clients.add(f"invented{number}", 1)
    clients.add("known", *[1] * 50)
    assert Counter(each.client == "known" for each in clients.served(40)) == {True: 20, False: 20}


def test_within_the_others_share_clients_take_turns() -> None:
    clients = Clients(SharePolicy({"a": 1.0}, others=1.0))
    clients.one_of_each("aaaa" + "bbb" + "cd")
    assert names(list(clients.queue)) == "abacadabb"
    assert names(clients.served()) == "abacadabb"


def test_of_the_others_too_the_one_with_most_gives_way() -> None:
    clients = Clients(SharePolicy({"a": 1.0}, others=1.0))
    clients.one_of_each("bbbbcca")
    assert clients.displaced_by("a") is not None
    assert names([clients.displaced_by("d") or clients.new("nobody")]) == "b"
    assert clients.displaced_by("b") is None
    clients.add("a", *[1] * 9)
    assert names([clients.displaced_by("d") or clients.new("nobody")]) == "a"


def test_clients_above_the_limit_share_one_share_in_order() -> None:
    clients = Clients(most=2)
    clients.one_of_each("ab" + "cdecde" + "aabb")
    assert names(clients.served(6)) == "abcabd"
    clients.one_of_each("c")  # a client of the crowd stays there while any of it waits, which keeps its jobs in order
    assert set(clients.queue._turns.shares) == {"a", "b", None}
    rest = clients.served()
    assert [each.client for each in rest if each.client not in "ab"] == ["e", "c", "d", "e", "c"]
    clients.one_of_each("c")
    assert set(clients.queue._turns.shares) == {"c"}


def test_a_client_of_the_crowd_stays_there_when_there_is_room_again_so_that_its_jobs_keep_their_order() -> None:
    clients = Clients(most=2)
    clients.one_of_each("ab" + "ccc")
    served = clients.served(3)
    assert set(clients.queue._turns.shares) == {None}
    clients.one_of_each("c")
    served += clients.served()
    assert [each.seq for each in served] == [1, 2, 3, 4, 5, 6]


def test_clients_that_come_later_begin_where_the_others_are() -> None:
    clients = Clients()
    clients.add("a", *[1] * 200)
    clients.add("b", *[1] * 200)
    clients.served(200)
    for client in "cdef":
        clients.add(client, *[1] * 50)
    assert Counter(names(clients.served(60))) == dict.fromkeys("abcdef", 10)


def test_new_clients_without_end_starve_nobody() -> None:
    """Each turn a new client comes and one job is served: the old one's second job is served all the same."""
    clients = Clients(most=50)
    clients.add("old", 1, 1)
    for number in range(20):
        clients.add(f"first{number}", 1)
    served: list[Job] = []
    for number in range(150):
        clients.add(f"new{number}", 1)
        served += clients.served(1)
    assert sum(each.client == "old" for each in served) == 2
    assert len(clients.queue._turns.shares) <= 51


def test_who_sends_alone_is_known_a_while_after_the_others() -> None:
    clients = Clients()
    assert not clients.queue.shared(0.0)
    clients.one_of_each("aa")
    assert not clients.queue.shared(0.002)
    clients.one_of_each("b")
    assert clients.queue.shared(0.003)
    assert clients.queue.shared(ALONE_AFTER)
    assert not clients.queue.shared(ALONE_AFTER + 0.003)


# ---- the end of jobs


def test_expired_jobs_leave() -> None:
    clients = Clients()
    assert clients.queue.next_expiry is None
    clients.add("a", 1, 1)
    (soon,) = clients.add("a", 1, expires=5.0)
    (later,) = clients.add("b", 1, expires=6.0)
    assert clients.queue.next_expiry == 5.0
    assert clients.queue.expire(4.9) == []
    assert clients.queue.expire(6.0) == [soon, later]
    assert names(clients.served()) == "aa"


def test_cleared_by_arrival() -> None:
    clients = Clients(SharePolicy({"b": 1.0}, others=1.0))
    jobs = [*clients.add("a", 1), *clients.add("b", 1), *clients.add("a", 1)]
    assert clients.queue.clear() == jobs
    assert len(clients.queue) == 0
    assert clients.queue.clear() == []


def test_what_did_not_run_is_first_again_and_not_charged() -> None:
    clients = Clients()
    clients.one_of_each("aaabbb")
    before = list(clients.queue)
    taken = clients.queue.take(3)
    clients.queue.requeue(taken)
    assert list(clients.queue) == before
    assert clients.queue.oldest_arrival == 0.001


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
        while clients.queue and (job := clients.queue.first).cost <= budget:
            clients.queue.take(1)
            budget -= job.cost
            if job in sent:
                waits.append(step - sent.pop(job))
    assert len(waits) == 100
    assert max(waits) <= 1
