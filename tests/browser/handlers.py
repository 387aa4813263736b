"""Handlers for the models that a person looks at, as text."""

from __future__ import annotations

# Sends a picture back; raises and prints what could be taken for markup.
ECHO = """
import io, sys, time
EVIL = "<img src=x onerror=window.hit=1><script>window.hit=1</script>"

class Echo:
    def initialize(self, context):
        pass

    def handle(self, data, context):
        bodies = [bytes(b.encode() if isinstance(b, str) else b) for b in (row.get("body") or row.get("data") for row in data)]
        if b"evil" in bodies:
            print(EVIL, flush=True)
            raise ValueError(EVIL)
        time.sleep(0.002 + 0.0005 * len(data))
        return bodies
"""

# Loads, and ends a stream, once nothing lies at GATE.
GATED = """
import os, time
from ts.handler_utils.utils import send_intermediate_predict_response

def wait():
    while os.path.exists("GATE"):
        time.sleep(0.01)

class Gated:
    def initialize(self, context):
        wait()

    def handle(self, data, context):
        send_intermediate_predict_response(["first piece, "] * len(data), context.request_ids, "", 200, context)
        wait()
        return ["last piece"] * len(data)
"""
