"""The models of a chaos run: each answer says which request it is to, and each run of a request is written down."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from ..e2e.live import make_model

# A request's text is `ID VERB NUMBER` and a line break, and behind it any number of bytes. The answer begins with
# `ID` and the sum of all bytes.
BATCHED_HANDLER = """
import os, time, zlib

RUNS = open(os.path.join(os.environ["CHAOS_RUNS"], str(os.getpid())), "a", buffering=1)

def handle(data, context):
    if data is None:
        return None
    return [one(bytes(row.get("body") or row.get("data") or b"")) for row in data]

def one(body):
    name, verb, number = body.partition(b"\\n")[0].decode().split(" ")
    RUNS.write(name + "\\n")
    if verb == "sleep":
        time.sleep(float(number))
    answer = f"{name} {zlib.crc32(body)} "
    return answer + name * (int(number) // len(name)) if verb == "big" else answer
"""

# NUMBER pieces, each of which begins with the request's id.
_STREAMED = """
import os, time
from ts.handler_utils.utils import send_intermediate_predict_response

RUNS = open(os.path.join(os.environ["CHAOS_RUNS"], str(os.getpid())), "a", buffering=1)

def handle(data, context):
    if data is None:
        return None
    body = bytes(data[0].get("body") or data[0].get("data") or b"")
    name, _, number = body.partition(b"\\n")[0].decode().split(" ")
    RUNS.write(name + "\\n")
    for piece in range(int(number)):
        send_intermediate_predict_response([f"{name} {piece}\\n" + "." * 2000], context.request_ids, "", 200, context)
    return [f"{name} end"]
"""

# A node hands on what it got, with its name behind it; it gets several answers under the names of the nodes before it.
_NODE = """
import os

RUNS = open(os.path.join(os.environ["CHAOS_RUNS"], str(os.getpid())), "a", buffering=1)

def handle(data, context):
    return data and [one(row, context.model_name) for row in data]

def one(row, model):
    body = b"".join(bytes(row[name]) for name in sorted(row))
    RUNS.write(body.partition(b" ")[0].decode() + "@" + model + "\\n")
    return body + (" " + model.partition("__")[2]).encode()
"""

# It asks another model, under an id of its own, for each request.
_CALLER = """
import os

RUNS = open(os.path.join(os.environ["CHAOS_RUNS"], str(os.getpid())), "a", buffering=1)

def asked(row):
    body = bytes(row["body"])
    name = body.partition(b" ")[0].decode()
    RUNS.write(name + "\\n")
    return name, name.encode() + b"c echo 0\\n" + body

"""
_WAITING = (
    _CALLER
    + """
def handle(data, context):
    return data and [one(index, *asked(row), context) for index, row in enumerate(data)]

def one(index, name, body, context):
    return name + " called " + context.predict_blocking("torn", body, idx=index).text()
"""
)
_AWAITING = (
    _CALLER
    + """
class Caller:
    async def handle(self, data, context):
        name, body = asked(data[0])
        return [name + " called " + (await context.predict("torn", body)).text()]
"""
)

BATCHED = ("calm", "torn", "busy")  # torn: its workers are killed; busy: its queue is short
STREAMED = "stream"
PASSING = "passing"  # comes and goes, in several versions; the server starts with the first
VERSIONS = ("1.0", "2.0")
CALLERS = ("waiting", "awaiting")  # their handlers call `torn`
WORKFLOWS = ("fan", "brief")  # brief: it comes and goes
COMING = "brief"
KILLED = ("torn", "waiting", "fan__left")  # the models whose workers are killed

# Model or workflow -> the other models that have a part in its answers.
INVOLVED = {"waiting": ("torn",), "awaiting": ("torn",), "fan": ("fan__left",)}
# Model -> how often a request may run there: its node is tried again when its worker dies.
RUNS = {"fan__left": 4}

_CONFIG = {
    "calm": "minWorkers: 1\nmaxWorkers: 2\nbatchSize: 8\nmaxBatchDelay: 5\n",
    "torn": "minWorkers: 2\nmaxWorkers: 2\nbatchSize: 4\nmaxBatchDelay: 5\nresponseTimeout: 60\n",
    "busy": "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 2\nmaxBatchDelay: 1\njobQueueSize: 4\n",
    STREAMED: "minWorkers: 2\nmaxWorkers: 2\nbatchSize: 1\n",
    "waiting": "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\nmaxBatchDelay: 5\n",
    "awaiting": "minWorkers: 1\nmaxWorkers: 1\nasyncCommunication: true\n",
}
_HANDLERS = {STREAMED: _STREAMED, "waiting": _WAITING, "awaiting": _AWAITING}
_SPECS = {
    "fan": """
models:
  timeout-ms: 100000
  batch-size: 4
  split: {url: node}
  left: {url: node, retry-attempts: 3}
  right: {url: node}
  join: {url: node}
dag: {split: [left, right], left: [join], right: [join]}
""",
    COMING: "models: {timeout-ms: 100000, first: {url: node}, last: {url: node}}\ndag: {first: [last]}\n",
}


def write_models(store: Path, batched: str, *, flows: bool = True) -> list[str]:
    """Write all models into `store`, those that answer in batches with the handler `batched`; return those to start with.

    Without `flows`, there are no models that call another one.
    """
    written = {name: config for name, config in _CONFIG.items() if flows or name not in CALLERS}
    for name, config in written.items():
        make_model(store, name, _HANDLERS.get(name, batched), config)
    make_model(store, "node", _NODE)
    for name, spec in _SPECS.items():
        with zipfile.ZipFile(store / f"{name}.war", "w") as war:
            war.writestr(
                "WAR-INF/MANIFEST.json", json.dumps({"workflow": {"workflowName": name, "specFile": "s.yaml"}})
            )
            war.writestr("s.yaml", spec)
    for version in VERSIONS:
        folder = make_model(store, f"{PASSING}-{version}", batched, "minWorkers: 1\nmaxWorkers: 1\n", version)
        manifest = folder / "MAR-INF" / "MANIFEST.json"
        manifest.write_text(manifest.read_text().replace(f'"{folder.name}"', f'"{PASSING}"'))
    return [*written, f"{PASSING}={PASSING}-{VERSIONS[0]}"]
