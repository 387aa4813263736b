"""Workflows: registering, asking, listing, describing and removing them (10.8)."""

from __future__ import annotations

from ..steps import Call, Files, Row, Setup
from .brief import ask, manage, standard


def _register(query: str) -> Call:
    return Call("management", "POST", f"/workflows?{query}", patience=90.0)


def _row(name: str, *steps: Call | Files) -> Row:
    return standard(name, "10.8", *steps)


def _wf(name: str, text: str = "hi", kind: str = "text/plain", method: str = "POST") -> Call:
    return ask(f"/wfpredict/{name}", text, kind, method)


_WORKFLOWS = (
    _row("no workflows", manage("GET", "/workflows")),
    _row("register a workflow", _register("url=diamond.war")),
    _row("register a workflow again", _register("url=diamond.war")),
    _row("describe a workflow", manage("GET", "/workflows/diamond")),
    _row("describe an unknown workflow", manage("GET", "/workflows/nobody")),
    _row("the models of a workflow", manage("GET", "/models")),
    _row("ask a workflow", _wf("diamond")),
    _row("ask a workflow by JSON", _wf("diamond", '{"a": 1}', "application/json")),
    _row("ask a workflow by PUT", _wf("diamond", method="PUT")),
    _row("ask a workflow, a version behind it", _wf("diamond/1.0")),
    _row("ask an unknown workflow", _wf("nobody")),
    _row("ask no workflow", ask("/wfpredict", "x", "text/plain")),
    _row("a function of a workflow is a model", ask("/predictions/diamond__pre", "x", "text/plain")),
    _row("a workflow of one model", _register("url=one.war"), _wf("one")),
    _row("a workflow with two ends", _register("url=leaves.war"), _wf("leaves")),
    _row("a workflow under another name", _register("url=one.war&workflow_name=other"), _wf("other"),
         manage("GET", "/workflows/other")),
    _row("a workflow whose node fails", _register("url=failing.war"), _wf("failing")),
    _row("list workflows", manage("GET", "/workflows")),
    _row("list workflows in pages", manage("GET", "/workflows?limit=2"),
         manage("GET", "/workflows?limit=2&next_page_token=4")),
    _row("put to a workflow", manage("PUT", "/workflows/diamond")),
    _row("delete of workflows", manage("DELETE", "/workflows")),
    _row("remove an unknown workflow", manage("DELETE", "/workflows/nobody")),
    _row("remove a workflow", manage("DELETE", "/workflows/diamond"), _wf("diamond"),
         manage("GET", "/models/diamond__m1")),
)  # fmt: skip

_REFUSED = (
    _row("register a workflow without a url", _register("")),
    _row("register a workflow with an empty url", _register("url=")),
    _row("register a workflow that is not there", _register("url=nowhere.war")),
    _row("register a workflow in a parent folder", _register("url=../store/one.war"), Files("store/*.war")),
    _row("register a workflow with a cycle", _register("url=cycle.war")),
    _row("register a workflow with a loop", _register("url=self.war")),
    _row("register a workflow with two starts", _register("url=starts.war")),
    _row("register a workflow whose model is not there", _register("url=absent.war"), manage("GET", "/models")),
    _row("register a workflow without a graph", _register("url=dagless.war")),
    _row("register a workflow that is no YAML", _register("url=torn.war")),
)  # fmt: skip

_STORED = ("diamond", "leaves", "one", "failing", "cycle", "self", "starts", "absent", "dagless", "torn")
_ARCHIVES = ("said.mar", *(f"{name}.war" for name in _STORED))
SETUPS = (
    Setup("workflows", _WORKFLOWS, archives=_ARCHIVES),
    Setup("refused-workflows", _REFUSED, archives=_ARCHIVES),
)
