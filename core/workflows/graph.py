"""Graph: which node of a workflow follows which. It has one start and no cycle."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import InvalidGraph

MOST_NODES = 100
_SHOWN = 5  # nodes that an error names


@dataclass(frozen=True, slots=True)
class Graph:
    """The nodes in an order in which each comes behind all that lead to it, the first being the start.

    `after` are the nodes that follow each one, `before` those that lead to it, both in the order of the spec.
    `alone_before` are the nodes that follow one, of those behind which no node waits for another as well.
    """

    nodes: tuple[str, ...]
    after: Mapping[str, tuple[str, ...]]
    before: Mapping[str, tuple[str, ...]]
    leaves: tuple[str, ...] = field(init=False)
    alone_before: Mapping[str, tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "leaves", tuple(node for node in self.nodes if not self.after[node]))
        alone = {
            node: following
            for node, following in self.after.items()
            if following and all(len(self.before[each]) == 1 for each in following)
        }
        object.__setattr__(self, "alone_before", alone)

    @property
    def start(self) -> str:
        return self.nodes[0]


def make_graph(edges: Mapping[str, Sequence[str]]) -> Graph:
    """Return the graph of these edges, node -> next nodes. Raises InvalidGraph, naming the nodes."""
    after: dict[str, tuple[str, ...]] = {node: tuple(dict.fromkeys(following)) for node, following in edges.items()}
    for following in list(after.values()):
        for node in following:
            after.setdefault(node, ())
    if not after:
        raise InvalidGraph("dag has no node: name the first one with those that follow it, as in `first: [second]`")
    if len(after) > MOST_NODES:
        raise InvalidGraph(
            f"dag has {len(after)} nodes and at most {MOST_NODES} are accepted: each has a worker of its own"
        )
    for node, following in after.items():
        if node in following:
            raise InvalidGraph(f"Self loop exception: node {node} follows itself")
    before: dict[str, list[str]] = {node: [] for node in after}
    for node, following in after.items():
        for each in following:
            before[each].append(node)
    starts = [node for node, those in before.items() if not those]
    if len(starts) > 1:
        raise InvalidGraph(f"DAG should have only one start node, and has {len(starts)}: {_some(starts)}")
    order = _sorted(after, before, starts)
    if len(order) < len(after):
        raise InvalidGraph(f"Not a valid DAG: there is a cycle through {_some(_cycle(after, set(order)))}")
    return Graph(tuple(order), after, {node: tuple(those) for node, those in before.items()})


def _sorted(
    after: Mapping[str, Sequence[str]], before: Mapping[str, Sequence[str]], starts: Sequence[str]
) -> list[str]:
    """Return the nodes that no cycle leads to, each behind all that lead to it."""
    missing = {node: len(those) for node, those in before.items()}
    order: list[str] = []
    ready = deque(starts)
    while ready:
        node = ready.popleft()
        order.append(node)
        for each in after[node]:
            missing[each] -= 1
            if not missing[each]:
                ready.append(each)
    return order


def _cycle(after: Mapping[str, Sequence[str]], sorted_nodes: set[str]) -> list[str]:
    """Return the nodes of a cycle. Nodes that are not sorted are on one or behind one, so that going back finds one."""
    before = {each: node for node in after if node not in sorted_nodes for each in after[node]}
    node = next(iter(node for node in after if node not in sorted_nodes))
    way: list[str] = []
    while node not in way:
        way.append(node)
        node = before[node]
    return way[way.index(node) :][::-1]


def _some(nodes: Sequence[str]) -> str:
    more = f" and {len(nodes) - _SHOWN} more" if len(nodes) > _SHOWN else ""
    return ", ".join(node[:80] for node in nodes[:_SHOWN]) + more
