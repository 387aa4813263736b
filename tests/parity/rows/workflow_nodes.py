"""Workflows in depth: what a node hands on and a client gets, nodes that fail, refuse, die and hang, keys, gRPC (10.8)."""

from __future__ import annotations

from dataclasses import replace

from ..steps import Call, Lines, Row, Rpc, Setup, Step
from .brief import ask, manage, standard


def _register(query: str) -> Call:
    return Call("management", "POST", f"/workflows?{query}", patience=90.0)


def _row(name: str, *steps: Step) -> Row:
    return standard(f"nodes: {name}", "10.8", *steps)


def _keyed(call: Call, kind: str) -> Call:
    """The call with the key of a kind."""
    return replace(call, headers=(*call.headers, ("Authorization", f"Bearer {{key:{kind}}}")))


def _leaf(text: str) -> Call:
    """A word to the model that is a workflow by itself."""
    return ask("/wfpredict/leaf", text, "text/plain", patience=60.0)


def _pair(text: str) -> Call:
    """A word to a model behind which a function tells what it got of it."""
    return ask("/wfpredict/pair", text, "text/plain", patience=60.0)


_PARTS = (
    b'--b\r\nContent-Disposition: form-data; name="data"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\ntext x\r\n'
    b'--b\r\nContent-Disposition: form-data; name="more"\r\n\r\n2\r\n--b--\r\n'
)
_SERVICES = (
    "inference.WorkflowInferenceAPIsService/Predictions",
    "management.WorkflowManagementAPIsService/ListWorkflows",
)

_ANSWERS = (
    _row("register", _register("url=leaf.war"), _register("url=pair.war")),
    _row("a model of a workflow is described", manage("GET", "/models/pair__m")),
    _row("a model of a workflow is asked", ask("/predictions/pair__m", "text x", "text/plain")),
    *(_row(f"the answer of a leaf: {text}", _leaf(text)) for text in ("text hi", "number 5", "list", "true", "bytes 00ff", "null")),
    *(_row(f"what a node hands on: {text}", _pair(text)) for text in ("text hi", "number 5", "list", "true", "bytes 00ff", "null")),
    _row("a status of the leaf", _leaf("status 404 Gone"), _leaf("status 503 Later")),
    _row("a status of a node before", _pair("status 404 Gone")),
    _row("a header of the leaf", _leaf("header a=b")),
    _row("a content type of the leaf", _leaf("type text/html")),
    _row("a content type of a node before", _pair("type text/html")),
    _row("a leaf that refuses", _leaf("refuse 404 because"), _leaf("refuse 503 because")),
    _row("a node that refuses", _pair("refuse 404 because")),
    _row("a leaf that fails", _leaf("fail x")),
    _row("a node that fails", _pair("fail x")),
    _row("a node that returns nothing", _pair("none")),
    _row("a node that returns a mapping", _pair("mapping")),
    _row("a node that returns too few", _pair("few")),
    _row("a node that dies", _pair("exit 3")),
    _row("a node that hangs", _pair("sleep 3")),
    _row("a form", ask("/wfpredict/leaf", _PARTS, "multipart/form-data; boundary=b")),
    _row("no body", ask("/wfpredict/leaf", "", "")),
    _row("a body of no type", ask("/wfpredict/leaf", "text plain", "")),
    _row("broken JSON", ask("/wfpredict/leaf", '{"a": ', "application/json")),
    _row("by GET", ask("/wfpredict/leaf", method="GET")),
    _row("by OPTIONS", ask("/wfpredict/leaf", method="OPTIONS")),
    _row("a path behind it", ask("/wfpredict/leaf/1.0/more", "text x", "text/plain")),
    _row("an empty name", ask("/wfpredict/", "text x", "text/plain")),
    _row("on the management port", Call("management", "POST", "/wfpredict/leaf", b"text x")),
    _row("the access log", _leaf("text logged"), Lines("logs/access_log.log", r'("POST /wfpredict/leaf HTTP/1.1" 200) \d+$', last=1)),
    *(_row(f"gRPC: {name.partition('/')[0]}", Rpc(face, f"org.pytorch.serve.grpc.workflow.{name}", (b"",)))
      for face, name in zip(("grpc", "grpc_management"), _SERVICES, strict=True)),
    _row("list: a limit that is none", manage("GET", "/workflows?limit=x"), manage("GET", "/workflows?limit=0")),
    _row("list: beyond the end", manage("GET", "/workflows?next_page_token=9"), manage("GET", "/workflows?next_page_token=-1")),
    _row("list: a slash behind", manage("GET", "/workflows/")),
    _row("describe: a version behind it", manage("GET", "/workflows/leaf/1.0")),
    _row("post to a workflow", manage("POST", "/workflows/leaf")),
    _row("remove twice", manage("DELETE", "/workflows/pair"), manage("DELETE", "/workflows/pair"), _pair("text x"),
         manage("GET", "/workflows")),
    _row("remove one that refuses", manage("DELETE", "/workflows/leaf"), manage("GET", "/models")),
)  # fmt: skip

_REGISTERED = (
    _row("an empty workflow_name", _register("url=leaf.war&workflow_name="), manage("DELETE", "/workflows/leaf")),
    _row("a workflow_name of other letters", _register("url=leaf.war&workflow_name=a%20b"), manage("GET", "/workflows")),
    _row("a download that fails", _register("url=http%3A%2F%2Flocalhost%3A1%2Ffake.war")),
    _row("a malformed address", _register("url=http%3A%2F%2Flocalhost%3Aaaaa")),
    _row("an archive that is none", _register("url=junk.war")),
    _row("an archive of a model", _register("url=said.mar")),
    _row("a function that is not there", _register("url=lacking.war"), manage("GET", "/models")),
    _row("a node whose model can't load", _register("url=broken.war"), manage("GET", "/models"), manage("GET", "/workflows")),
    _row("a key that is unknown", _register("url=odd.war")),
    _row("numbers that are none", _register("url=numbers.war")),
    _row("by a body of JSON", Call("management", "POST", "/workflows", b'{"url": "leaf.war"}', (("Content-Type", "application/json"),), patience=90.0)),
)  # fmt: skip

_KEYED = (
    _row("keys: register without a key", _register("url=leaf.war")),
    _row("keys: register with the inference key", _keyed(_register("url=leaf.war"), "inference")),
    _row("keys: register with the management key", _keyed(_register("url=leaf.war"), "management")),
    _row("keys: ask without a key", _leaf("text hi")),
    _row("keys: ask with the management key", _keyed(_leaf("text hi"), "management")),
    _row("keys: ask with the key", _keyed(_leaf("text hi"), "inference")),
    _row("keys: describe", manage("GET", "/workflows/leaf"), _keyed(manage("GET", "/workflows/leaf"), "management")),
    _row("keys: list", manage("GET", "/workflows"), _keyed(manage("GET", "/workflows"), "management")),
    _row("keys: remove", manage("DELETE", "/workflows/leaf"), _keyed(manage("DELETE", "/workflows/leaf"), "management")),
)  # fmt: skip

SETUPS = (
    Setup("workflow-nodes", _ANSWERS, archives=("probe.mar", "leaf.war", "pair.war")),
    Setup(
        "workflow-registered", _REGISTERED, properties="allowed_urls=file://.*|http(s)?://.*\n", files=(("store/junk.war", "this is no archive"),),
        archives=("probe.mar", "said.mar", "broken.mar", "leaf.war", "lacking.war", "broken.war", "odd.war", "numbers.war"),
    ),
    Setup(
        "workflow-keys", _KEYED, archives=("probe.mar", "leaf.war"), flags=("--ncs", "--enable-model-api"),
        properties="disable_token_authorization=false\n",
    ),
)  # fmt: skip
