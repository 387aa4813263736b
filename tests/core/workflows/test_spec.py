"""What the YAML of a workflow may say, and how everything else is refused: by its key."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from torchserve.core.errors import InvalidArchive, InvalidWorkflow
from torchserve.core.workflows.spec import NodeSpec, WorkflowSpec, read_spec

FULL = """
models:
  min-workers: 2
  max-workers: 3
  batch-size: 4
  max-batch-delay: 5
  retry-attempts: 6
  timeout-ms: 7
  m1: {url: m1.mar}
  m2: {url: m2.mar, min-workers: 1, max-workers: 1, batch-size: 8, timeout-ms: 9, retry-attempts: 0}
  spare: {url: m3.mar}
dag:
  pre: [m1, m2]
  m1: [post]
  m2: [post]
"""


def read(text: str, *, functions: bool = True) -> WorkflowSpec:
    return read_spec(yaml.safe_load(text), functions=functions)


def test_a_node_has_what_it_says_or_what_all_have() -> None:
    spec = read(FULL)
    common = {"min_workers": 2, "max_workers": 3, "batch_size": 4, "max_batch_delay": 5, "retries": 6, "timeout": 7}
    assert spec.common == NodeSpec(**common)
    assert spec.nodes["m1"] == NodeSpec(url="m1.mar", **common)
    own = common | {"min_workers": 1, "max_workers": 1, "batch_size": 8, "timeout": 9, "retries": 0}
    assert spec.nodes["m2"] == NodeSpec(url="m2.mar", **own)
    assert spec.nodes["pre"] == NodeSpec(retries=6, timeout=7, max_batch_delay=0)
    assert spec.dag == "{pre=[m1, m2], m1=[post], m2=[post]}"
    assert spec.unused == ["spare"]


def test_torchserves_defaults() -> None:
    spec = read("models: {m: {url: m.mar}}\ndag: {m: }")
    assert spec.nodes["m"] == NodeSpec(
        url="m.mar", min_workers=1, max_workers=1, batch_size=1, max_batch_delay=50, retries=1, timeout=10_000
    )
    assert read("dag: {a: [b]}").graph.nodes == ("a", "b")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("models: {m: {url: m.mar}}", "^`dag` is missing"),
        ("dag: [a]", r"^`dag` must be a mapping, not \['a'\]"),
        ("models: 3\ndag: {a: [b]}", "^`models` must be a mapping, not 3"),
        ("dag: {a: b}", "^dag.a must be a list of the nodes that follow, not 'b'"),
        ("dag: {a: [1]}", "^A node's name must be text, not 1"),
        ("dag: {../a: []}", "^Node of the workflow: Invalid model name '../a'"),
        ("models: {m: m.mar}\ndag: {m: []}", "^models.m must be a mapping with a url, not 'm.mar'"),
        ("models: {m: {}}\ndag: {m: []}", "^models.m.url must be the archive of a model, not None"),
        ("models: {m: {url: ../m.mar}}\ndag: {m: []}", "^models.m.url: Relative path is not allowed in url: ../m.mar"),
        ("models: {m: {url: a%2e%2e/m}}\ndag: {m: []}", "^models.m.url: Relative path is not allowed in url"),
        ("models: {m: {url: m, retries: 2}}\ndag: {m: []}", "^models.m has the unknown key 'retries'; known are url"),
        ("models: {timeout-ms: 0}\ndag: {a: []}", "^models.timeout-ms must be a whole number from 1 to 2147483647"),
        ("models: {m: {url: m, batch-size: 1.5}}\ndag: {m: []}", "^models.m.batch-size must be a whole number from 1"),
        ("models: {retry-attempts: 101}\ndag: {a: []}", "^models.retry-attempts must be a whole number from 0 to 100,"),
        ("models: {min-workers: true}\ndag: {a: []}", "^models.min-workers must be a whole number from 0"),
        ("models: {m: {url: m, min-workers: 2, max-workers: 1}}\ndag: {m: []}", "^models.m: max-workers is 1, less"),
        ("dag: {'a b': []}", "^Node a b of dag is not in models, and its name can't be that of a function"),
    ],
)
def test_what_is_wrong_is_named(text: str, says: str) -> None:
    with pytest.raises(InvalidWorkflow, match=says):
        read(text)


def test_without_a_handler_every_node_is_a_model() -> None:
    with pytest.raises(InvalidWorkflow, match=r"^Node b of dag is not in models, and the archive has no handler"):
        read("models: {a: {url: a.mar}}\ndag: {a: [b]}", functions=False)


WILD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["a", "url"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "url"]), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=40)
@given(st.fixed_dictionaries({}, optional={"models": WILD, "dag": WILD}))
def test_any_document_is_a_workflow_or_refused(document: dict[str, Any]) -> None:
    try:
        spec = read_spec(document, functions=True)
    except InvalidArchive:
        return
    assert set(spec.graph.nodes) <= set(spec.nodes)
