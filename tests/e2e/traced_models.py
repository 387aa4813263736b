"""Models whose requests are recorded: with and without hooks, streaming, calling another one, and those of a workflow."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from .handlers import STREAMS
from .live import make_model

HOOKS = """
import os, time

class Hooks:
    def initialize(self, context):
        pass

    def preprocess(self, data):
        return [bytes(row.get("body") or row.get("data")).decode() for row in data]

    def inference(self, texts):
        for text in texts:
            verb, _, gate = text.partition(" ")
            if verb == "raise":
                raise ValueError("no")
            if verb == "die":
                os._exit(1)
            if verb == "memory":
                raise MemoryError
            if verb == "hold":
                open(gate + ".reached", "w").close()
                while not os.path.exists(gate):
                    time.sleep(0.01)
        return texts

    def postprocess(self, texts):
        return texts

    def handle(self, data, context):
        print("under", context.traceparent or "nothing", flush=True)
        return self.postprocess(self.inference(self.preprocess(data)))
"""
# Sends the first piece, and the last one once the gate is there that the request names.
PIECES = """
import os, time
from ts.handler_utils.utils import send_intermediate_predict_response

def handle(data, context):
    if data is None:
        return None
    gate = bytes(data[0].get("body") or data[0].get("data")).decode()
    send_intermediate_predict_response(["first "], context.request_ids, "", 200, context)
    while not os.path.exists(gate):
        time.sleep(0.01)
    return ["last"]
"""
# Calls the model that the request names first with the rest of it.
CALLER = """
def handle(data, context):
    if data is None:
        return None
    model, _, text = bytes(data[0]["body"]).decode().partition(" ")
    return [context.predict_blocking(model, text.encode(), idx=0).body]
"""
# The functions of a workflow, `pre` before `left` and `right`.
FUNCTIONS = """
import os, time

def pre(data, context):
    if data is None:
        return None
    text = bytes(data[0].get("body") or data[0].get("data")).decode()
    if text == "bad":
        raise ValueError(text)
    if text.startswith("hold "):
        open(text[5:] + ".reached", "w").close()
        while not os.path.exists(text[5:]):
            time.sleep(0.01)
    return [text.encode()]

def left(data, context):
    return None if data is None else [b"l"]

def right(data, context):
    return None if data is None else [b"r"]
"""
TENSORS = """
def handle(data, context):
    return None if data is None else [{"y": row["x"]} for row in data]
"""
ONE = "minWorkers: 1\nmaxWorkers: 1\n"
NAMES = ("hooks", "pair", "streams", "tensors", "pieces", "caller")


def make_models(store: Path) -> None:
    """Put the models of NAMES and the workflow wf.war into a store."""
    make_model(store, "hooks", HOOKS, f"{ONE}jobQueueSize: 1\n")
    make_model(store, "pair", HOOKS, f"{ONE}batchSize: 2\nbatchPolicy: fixed\nmaxBatchDelay: 60000\nslowRequestMs: 1\n")
    for name, handler in (("streams", STREAMS), ("tensors", TENSORS), ("pieces", PIECES), ("caller", CALLER)):
        make_model(store, name, handler, ONE)
    with zipfile.ZipFile(store / "wf.war", "w") as archive:
        workflow = {"workflow": {"workflowName": "wf", "specFile": "spec.yaml", "handler": "functions.py"}}
        archive.writestr("WAR-INF/MANIFEST.json", json.dumps(workflow))
        archive.writestr("spec.yaml", "dag: {pre: [left, right]}\n")
        archive.writestr("functions.py", FUNCTIONS)
