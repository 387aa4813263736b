"""find_cycle(): whether a call between models could never be answered, since what it waits for waits for the caller.

A batch that runs waits for all of its calls. A call that is in a batch waits for that batch, one in a queue for any
worker of its model, and a worker for all batches that it has. So a wait is an AND of ORs of ANDs of batches. A call is
hopeless if no order of ends lets it be answered before its caller's batch has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple


class Need(NamedTuple):
    """A wait for a model: for all batches of any one of `options`. An empty option waits for nothing."""

    name: str
    options: Sequence[Sequence[Hashable]]


def find_cycle(caller: Hashable, first: Need, needs: Callable[[Hashable], Sequence[Need]]) -> list[str] | None:
    """Return None if `first` can be met while the batch `caller` has not ended, else the names of what waits for what.

    `needs` returns what a batch waits for.
    """
    known: dict[Hashable, Sequence[Need]] = {}
    todo = [first]
    while todo:
        for option in todo.pop().options:
            for batch in option:
                if batch is not caller and batch not in known:
                    known[batch] = needs(batch)
                    todo += known[batch]
    free: set[Hashable] = set()

    def met(need: Need) -> bool:
        return any(all(batch in free for batch in option) for option in need.options)

    while not met(first):
        more = [batch for batch, waits in known.items() if batch not in free and all(map(met, waits))]
        if not more:
            return _walk(caller, first, lambda batch: next(need for need in known[batch] if not met(need)), free)
        free.update(more)
    return None


def _walk(caller: Hashable, need: Need, unmet: Callable[[Hashable], Need], free: set[Hashable]) -> list[str]:
    """Return the names along unmet needs, until the caller or what was passed already."""
    names: list[str] = []
    passed: set[Hashable] = {caller}
    while True:
        names.append(need.name)
        batches = [batch for option in need.options for batch in option if batch not in free]
        batch = caller if caller in batches or not batches else batches[0]
        if batch in passed:
            return names
        passed.add(batch)
        need = unmet(batch)
