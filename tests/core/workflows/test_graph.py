"""Graphs: what is refused, with the nodes named; and that a request comes through all others, by hypothesis."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchserve.core.errors import InvalidGraph
from torchserve.core.payload import Reply
from torchserve.core.workflows.graph import MOST_NODES, make_graph
from torchserve.core.workflows.run import Run


@pytest.mark.parametrize(
    ("edges", "says"),
    [
        ({}, "^dag has no node"),
        ({"a": ["a"]}, "^Self loop exception: node a follows itself$"),
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, "^Not a valid DAG: there is a cycle through [abc], [abc], [abc]$"),
        ({"pre": ["a"], "a": ["b"], "b": ["a"]}, "^Not a valid DAG: there is a cycle through (a, b|b, a)$"),
        ({"a": ["c"], "b": ["c"]}, "^DAG should have only one start node, and has 2: a, b$"),
        ({f"n{at}": [] for at in range(9)}, "has 9: n0, n1, n2, n3, n4 and 4 more$"),
        ({"a": [f"n{at}" for at in range(1000)]}, f"^dag has 1001 nodes and at most {MOST_NODES} are accepted"),
    ],
)
def test_a_graph_that_is_none_is_refused_by_name(edges: dict[str, list[str]], says: str) -> None:
    with pytest.raises(InvalidGraph, match=says):
        make_graph(edges)


def test_a_diamond() -> None:
    graph = make_graph({"pre": ["m1", "m2", "m1"], "m1": ["post"], "m2": ["post"]})
    assert graph.nodes == ("pre", "m1", "m2", "post")
    assert (graph.start, graph.leaves) == ("pre", ("post",))
    assert (graph.after["pre"], graph.before["post"]) == (("m1", "m2"), ("m1", "m2"))


@st.composite
def acyclic(draw: st.DrawFn) -> dict[str, list[str]]:
    """Edges that lead from lower to higher numbers; each node but the first has one that leads to it."""
    count = draw(st.integers(1, 9))
    edges: dict[str, list[str]] = {str(at): [] for at in range(count)}
    for node in range(1, count):
        for before in draw(st.sets(st.integers(0, node - 1), min_size=1)):
            edges[str(before)].append(str(node))
    return dict(draw(st.permutations(list(edges.items()))))


@settings(max_examples=50)
@given(edges=acyclic(), data=st.data())
def test_every_node_starts_once_with_the_answers_of_all_before_it(
    edges: dict[str, list[str]], data: st.DataObject
) -> None:
    graph = make_graph(edges)
    run = Run(graph)
    running, started = [graph.start], {graph.start}
    while running:
        node = data.draw(st.sampled_from(running))
        running.remove(node)
        ready = run.answered(node, Reply(node.encode()))
        assert run.size == sum(len(reply.body) for reply in run.results.values())
        for following, parts in ready:
            assert following not in started
            started.add(following)
            running.append(following)
            before = graph.before[following]
            assert [(part.name, bytes(part.body).decode()) for part in parts] == (
                [("body", before[0])] if len(before) == 1 else [(each, each) for each in before]
            )
    assert started == set(graph.nodes)
    assert run.over
    assert set(run.results) == set(graph.leaves)  # no other answer is kept


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=4), max_size=6))
def test_any_edges_are_a_graph_or_refused(edges: dict[str, list[str]]) -> None:
    try:
        graph = make_graph(edges)
    except InvalidGraph:
        return
    place = {node: at for at, node in enumerate(graph.nodes)}
    assert all(place[node] < place[each] for node in graph.nodes for each in graph.after[node])
