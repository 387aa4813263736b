"""Run: one request on its way through a graph, as a plain object: what has come back, and which nodes may start.

It knows neither models nor time. A node may start once all that lead to it have answered. Its input is their answers:
the answer of a single one is its `body`, those of several are under their names, as TorchServe's are. An answer is kept
until the nodes behind it have got it; none is copied.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..payload import Part, Reply
from .graph import Graph


class Run:
    """A request's state. `answered` is called once for each node, in whatever order they answer."""

    __slots__ = ("_graph", "_kept", "_left", "_missing")

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._missing = {node: len(those) for node, those in graph.before.items() if those}
        self._kept: dict[str, Reply] = {}
        self._left = len(graph.nodes)

    def answered(self, node: str, reply: Reply) -> list[tuple[str, tuple[Part, ...]]]:
        """Take a node's answer, and return the nodes that may start by now, with their inputs."""
        graph = self._graph
        self._left -= 1
        self._kept[node] = reply
        ready: list[tuple[str, tuple[Part, ...]]] = []
        for each in graph.after[node]:
            self._missing[each] -= 1
            if not self._missing[each]:
                ready.append((each, self._input(each)))
        for each, _ in ready:
            for source in graph.before[each]:
                if source in self._kept and all(not self._missing[next_one] for next_one in graph.after[source]):
                    del self._kept[source]
        return ready

    @property
    def over(self) -> bool:
        """Whether all nodes have answered."""
        return not self._left

    @property
    def results(self) -> Mapping[str, Reply]:
        """The answers that are kept: once it is over, those of the leaves."""
        return self._kept

    def _input(self, node: str) -> tuple[Part, ...]:
        sources = self._graph.before[node]
        if len(sources) == 1:
            return (Part("body", "", self._kept[sources[0]].body),)
        return tuple([Part(source, "", self._kept[source].body) for source in sources])
