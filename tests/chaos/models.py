"""The models of a chaos run: each answer says which request it is to, and each run of a request is written down."""

from __future__ import annotations

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

BATCHED = ("calm", "torn", "busy")  # torn: its workers are killed; busy: its queue is short
STREAMED = "stream"
PASSING = "passing"  # comes and goes, in several versions; the server starts with the first
VERSIONS = ("1.0", "2.0")

_CONFIG = {
    "calm": "minWorkers: 1\nmaxWorkers: 2\nbatchSize: 8\nmaxBatchDelay: 5\n",
    "torn": "minWorkers: 2\nmaxWorkers: 2\nbatchSize: 4\nmaxBatchDelay: 5\nresponseTimeout: 60\n",
    "busy": "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 2\nmaxBatchDelay: 1\njobQueueSize: 4\n",
    STREAMED: "minWorkers: 2\nmaxWorkers: 2\nbatchSize: 1\n",
}


def write_models(store: Path, batched: str) -> list[str]:
    """Write all models into `store`, those that answer in batches with the handler `batched`; return those to start with."""
    for name, config in _CONFIG.items():
        make_model(store, name, _STREAMED if name == STREAMED else batched, config)
    for version in VERSIONS:
        folder = make_model(store, f"{PASSING}-{version}", batched, "minWorkers: 1\nmaxWorkers: 1\n", version)
        manifest = folder / "MAR-INF" / "MANIFEST.json"
        manifest.write_text(manifest.read_text().replace(f'"{folder.name}"', f'"{PASSING}"'))
    return [*_CONFIG, f"{PASSING}={PASSING}-{VERSIONS[0]}"]
