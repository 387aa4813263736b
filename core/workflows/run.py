"""Run: one request on its way through a graph, as a plain object: what has come back, and which nodes may start.

It knows neither models nor time. A node may start once all that lead to it have answered. Its input is their answers:
the answer of a single one is its `body`, those of several are under their names, as TorchServe's are. An answer is kept
until the nodes behind it have got it; none is copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..payload import Part, Reply
from .graph import Graph

Ready = Sequence[tuple[str, tuple[Part, ...]]]
"""The nodes that may start, with their inputs."""


class Run:
    """A request's state. `answered` is called once for each node, in whatever order they answer.

    `size` is how many bytes are kept: those of answers that other nodes, or the client, have yet to get.
    """

    __slots__ = ("_graph", "_kept", "_left", "_missing", "size")

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._missing: dict[str, int] = {}  # by node that some have answered to: those that have yet to
        self._kept: dict[str, Reply] = {}
        self._left = len(graph.nodes)
        self.size = 0

    def answered(self, node: str, reply: Reply) -> Ready:
        """Take a node's answer, and return the nodes that may start by now, with their inputs."""
        graph = self._graph
        self._left -= 1
        following = graph.alone_before.get(node)
        if following is not None:  # most nodes: the answer is handed on, and nothing of it is kept
            parts = (Part("body", "", reply.body),)
            return [(each, parts) for each in following]
        self._kept[node] = reply
        self.size += len(reply.body)
        missing = self._missing
        ready: list[tuple[str, tuple[Part, ...]]] = []
        for each in graph.after[node]:
            left = missing[each] = missing.get(each, len(graph.before[each])) - 1
            if not left:
                ready.append((each, self._input(each)))
        for each, _ in ready:
            for source in graph.before[each]:
                if source in self._kept and all(missing.get(other) == 0 for other in graph.after[source]):
                    self.size -= len(self._kept.pop(source).body)
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
