"""WorkflowSpec: what the YAML of a workflow says: its nodes, how each is run, and its graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import unquote

from ..errors import BadRequest, InvalidWorkflow
from ..model_name import check_name
from .graph import Graph, make_graph

_MOST = 2**31 - 1
# The keys of `models`, for all nodes or for one: the field, the default and the smallest legal value.
_NUMBERS = {
    "min-workers": ("min_workers", 1, 0),
    "max-workers": ("max_workers", 1, 1),
    "batch-size": ("batch_size", 1, 1),
    "max-batch-delay": ("max_batch_delay", 50, 0),
    "retry-attempts": ("retries", 1, 0),
    "timeout-ms": ("timeout", 10_000, 1),
}
_MISSING = {"dag": "it says which nodes follow each node, as in `first: [second, third]`"}
_LIMITS = {"retry-attempts": 100}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """A description of how a node is run.

    Batch delay and `timeout`, which each attempt has, are in ms; `retries` follow the first attempt.

    `url` is the archive of its model, "" if it is a function of the workflow's handler.
    """

    url: str = ""
    min_workers: int = 1
    max_workers: int = 1
    batch_size: int = 1
    max_batch_delay: int = 50
    retries: int = 1
    timeout: int = 10_000


@dataclass(frozen=True, slots=True)
class WorkflowSpec:
    """A workflow: `nodes` are those of `graph`. `common` is what holds for nodes that say nothing else, `dag` as text
    how the graph was written.
    """

    common: NodeSpec
    nodes: Mapping[str, NodeSpec]
    graph: Graph
    dag: str

    @property
    def unused(self) -> list[str]:
        """The models that the graph has no node for."""
        return [node for node in self.nodes if node not in self.graph.after]


def read_spec(document: Mapping[str, object], *, functions: bool) -> WorkflowSpec:
    """Return the workflow of a parsed YAML; with `functions`, nodes that are no models may be functions of its handler.

    Raises InvalidWorkflow, naming the key, and InvalidGraph.
    """
    models = _mapping(document, "models") if "models" in document else {}
    edges = {_name(node): _following(node, following) for node, following in _mapping(document, "dag").items()}
    common = _node("models", models, NodeSpec())
    nodes: dict[str, NodeSpec] = {}
    for name, said in models.items():
        if name in _NUMBERS:
            continue
        where = f"models.{_name(name)}"
        if not isinstance(said, Mapping):
            raise InvalidWorkflow(f"{where} must be a mapping with a url, not {said!r:.80}; {_known()}")
        nodes[name] = _node(where, cast("Mapping[str, object]", said), common, url=True)
    graph = make_graph(edges)
    for name in graph.nodes:
        if name in nodes:
            continue
        if not functions:
            raise InvalidWorkflow(
                f"Node {name} of dag is not in models, and the archive has no handler that it could be a function of."
            )
        if not name.isidentifier():
            raise InvalidWorkflow(f"Node {name} of dag is not in models, and its name can't be that of a function.")
        # Functions are called with one request at a time, as TorchServe does: most of them look at the first alone.
        nodes[name] = NodeSpec(retries=common.retries, timeout=common.timeout, max_batch_delay=0)
    dag = ", ".join(f"{node}=[{', '.join(following)}]" for node, following in edges.items())
    return WorkflowSpec(common, nodes, graph, f"{{{dag}}}")


def _node(where: str, said: Mapping[str, object], common: NodeSpec, *, url: bool = False) -> NodeSpec:
    found = {
        field: _whole(where, key, said.get(key, getattr(common, field)), least)
        for key, (field, _, least) in _NUMBERS.items()
    }
    if found["max_workers"] < found["min_workers"]:
        if "max-workers" in said:
            raise InvalidWorkflow(
                f"{where}: max-workers is {found['max_workers']}, less than min-workers, {found['min_workers']}"
            )
        found["max_workers"] = found["min_workers"]
    return NodeSpec(url=_url(where, said) if url else "", **found)


def _url(where: str, said: Mapping[str, object]) -> str:
    value = said.get("url")
    if not isinstance(value, str) or not value.strip():
        raise InvalidWorkflow(f"{where}.url must be the archive of a model, not {value!r:.80}")
    if ".." in value or ".." in unquote(value):
        raise InvalidWorkflow(f"{where}.url: Relative path is not allowed in url: {value:.200}")
    unknown = [key for key in said if key != "url" and key not in _NUMBERS]
    if unknown:
        raise InvalidWorkflow(f"{where} has the unknown key {unknown[0]!r:.80}; {_known()}")
    return value


def _whole(where: str, key: str, value: object, least: int) -> int:
    most = _LIMITS.get(key, _MOST)
    if type(value) is not int or not least <= value <= most:
        raise InvalidWorkflow(f"{where}.{key} must be a whole number from {least} to {most}, not {value!r:.80}")
    return value


def _mapping(document: Mapping[str, object], key: str) -> Mapping[str, object]:
    if key not in document:
        raise InvalidWorkflow(f"`{key}` is missing: {_MISSING[key]}")
    value = document[key]
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidWorkflow(f"`{key}` must be a mapping, not {value!r:.80}")
    return cast("Mapping[str, object]", value)


def _following(node: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidWorkflow(f"dag.{node} must be a list of the nodes that follow, not {value!r:.80}")
    return tuple(_name(each) for each in cast("list[object]", value))


def _name(value: object) -> str:
    """Return a node's name. It becomes a part of its model's name."""
    if not isinstance(value, str):
        raise InvalidWorkflow(f"A node's name must be text, not {value!r:.80}: put it into quotes")
    try:
        return check_name(value)
    except BadRequest as error:
        raise InvalidWorkflow(f"Node of the workflow: {error.message}") from None


def _known() -> str:
    return f"known are url, {', '.join(_NUMBERS)}"
