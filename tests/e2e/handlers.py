"""Handlers for the tests' models, as text."""

from __future__ import annotations

# Does what the request's text says, request by request; `batch` tells with whom it ran.
PROBE = """
import json, os, signal, sys, time
from ts.utils.util import PredictionException

class Probe:
    def initialize(self, context):
        print("probe initialized", flush=True)
        self.properties = dict(context.system_properties)

    def handle(self, data, context):
        return [self.one(row.get("body") or row.get("data"), row, data, context, i) for i, row in enumerate(data)]

    def one(self, text, row, data, context, i):
        text = text.decode() if isinstance(text, (bytes, bytearray)) else text
        verb, _, rest = (text or "").partition(" ")
        if verb == "raise":
            raise ValueError(rest)
        if verb == "memory":
            raise MemoryError(rest)
        if verb == "cuda":
            raise RuntimeError("CUDA out of memory")
        if verb == "refuse":
            raise PredictionException(rest, 422)
        if verb == "leave":
            sys.exit(3)
        if verb == "exit":
            os._exit(int(rest))
        if verb == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if verb == "sleep":
            time.sleep(float(rest))
        if verb == "hold":  # until the gate, a file, is there; then the rest is done
            gate, _, rest = rest.partition(" ")
            open(gate + ".reached", "w").close()
            while not os.path.exists(gate):
                time.sleep(0.01)
            return self.one(rest, row, data, context, i)
        if verb == "print":
            print("x" * int(rest)); print("a line on stderr", file=sys.stderr)
        if verb == "status":
            context.set_response_status(int(rest), "Chosen", i)
        if verb == "type":
            context.set_response_content_type(i, rest)
        if verb == "header":
            context.set_response_header(i, *rest.split("=", 1))
        if verb == "object":
            return object()
        if verb == "big":
            return b"x" * int(rest)
        return {
            "batch": len(data), "text": text[:1000], "names": sorted(row), "id": context.get_request_id(i),
            "gpu_id": self.properties["gpu_id"], "visible": os.environ.get("CUDA_VISIBLE_DEVICES"), "pid": os.getpid(),
            "headers": {k.lower(): v for k, v in context.get_all_request_header(i).items() if isinstance(v, str)},
        }
"""

# Writes each request's text to a file before it answers, so that a test sees what ran, and in which batches.
RECORD = """
import os, pathlib, time

def handle(data, context):
    if data is None:
        return None
    here = pathlib.Path(os.environ["RECORD_HERE"])
    texts = [(row.get("body") or b"").decode() if not isinstance(row.get("body"), str) else row["body"] for row in data]
    with here.open("a") as file:
        file.write(",".join(texts) + "\\n")
    if any(text.startswith("wait") for text in texts):
        gate = here.with_name("gate")
        while not gate.exists():
            time.sleep(0.01)
    return texts
"""

ECHO = """
def handle(data, context):
    return None if data is None else [row.get("body") for row in data]
"""

WRONG_COUNT = """
def handle(data, context):
    return None if data is None else ["only one"] * (len(data) + 1)
"""

BROKEN = """
class Broken:
    def initialize(self, context):
        raise RuntimeError("weights are missing")

    def handle(self, data, context):
        return data
"""

# Emits one metric of each kind; METRICS_YAML declares half of them.
_MEASURING = """
from ts.metrics.dimension import Dimension
from ts.metrics.metric_type_enum import MetricTypes

class Measuring:
    def initialize(self, context):
        pass

    def handle(self, data, context):
        metrics = context.metrics
        CALLS.add_or_update(len(data), [])
        SIZES.add_or_update(3, ["large"])
        metrics.add_time("Undeclared", 3.5)
        metrics.add_size("Zoned", 3, 0, "MB", [Dimension("Zone", "a")])
        return ["ok"] * len(data)
"""
MEASURING = _MEASURING.replace("CALLS", 'metrics.get_metric("Calls", MetricTypes.COUNTER)').replace(
    "SIZES", 'metrics.get_metric("Sizes", MetricTypes.HISTOGRAM)'
)
MEASURING_UNDECLARED = _MEASURING.replace(
    "CALLS", 'metrics.add_metric_to_cache("Calls", "count", [], MetricTypes.COUNTER)'
).replace("SIZES", 'metrics.add_metric_to_cache("Sizes", "Items", ["Kind"], MetricTypes.HISTOGRAM)')
METRICS_YAML = """
ts_metrics:
  counter:
    - {name: Requests2XX, unit: Count, dimensions: [Level, Hostname]}
model_metrics:
  counter:
    - {name: Calls, unit: Count, dimensions: []}
  histogram:
    - {name: Sizes, unit: Items, dimensions: [Kind]}
  gauge:
    - {name: PredictionTime, unit: ms, dimensions: [ModelName, Level]}
"""

# Answers in four pieces.
STREAMS = """
from ts.handler_utils.utils import send_intermediate_predict_response

def handle(data, context):
    if data is None:
        return None
    for n in range(3):
        send_intermediate_predict_response([f"{n} "] * len(data), context.request_ids, "Intermediate", 200, context)
    return ["end"] * len(data)
"""
