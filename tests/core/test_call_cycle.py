"""find_cycle: a call is refused exactly if no order of ends answers it before its caller ends."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.call_cycle import Need, find_cycle


def test_a_free_worker_is_enough() -> None:
    assert find_cycle("a", Need("B", [["a"], []]), lambda _: ()) is None
    assert find_cycle("a", Need("B", [["b"]]), lambda _: ()) is None


def test_cycles_are_named() -> None:
    waits = {"b": [Need("C", [["c"]])], "c": [Need("A", [["a"]])]}
    assert find_cycle("a", Need("A", [["a"]]), lambda _: ()) == ["A"]
    assert find_cycle("a", Need("B", [["b"]]), lambda batch: waits[batch]) == ["B", "C", "A"]
    assert find_cycle("a", Need("B", [["b"], ["d"]]), lambda batch: waits.get(batch, ())) is None


BATCHES = range(4)
NEED = st.lists(st.lists(st.sampled_from(BATCHES), max_size=2), min_size=1, max_size=2).map(lambda o: Need("m", o))


@given(NEED, st.lists(st.lists(NEED, max_size=2), min_size=4, max_size=4))
def test_it_is_as_trying_every_order(first: Need, waits: list[list[Need]]) -> None:
    def answered(order: tuple[int, ...]) -> bool:
        ended: set[int] = set()
        for batch in order:
            if all(any(ended.issuperset(option) for option in need.options) for need in waits[batch]):
                ended.add(batch)
        return any(ended.issuperset(option) for option in first.options)

    possible = any(answered(order) for order in permutations(batch for batch in BATCHES if batch != 0))
    assert (find_cycle(0, first, lambda batch: waits[batch]) is None) == possible  # type: ignore[index]
