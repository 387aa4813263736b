"""Handlers of the comparison's archives, as text: they import only what handlers of TorchServe import."""

from __future__ import annotations

# Does what the request's text says; anything else is answered with what arrived.
PROBE = """
import os, sys, time
from ts.handler_utils.utils import send_intermediate_predict_response
from ts.utils.util import PredictionException


def told(value):
    if isinstance(value, (bytes, bytearray)):
        return [type(value).__name__, bytes(value[:80]).decode("utf-8", "replace")]
    return [type(value).__name__, value]


def text_of(row):
    for key in ("say", "body", "data"):
        value = row.get(key)
        if isinstance(value, (bytes, bytearray)):
            value = bytes(value).decode("utf-8", "replace")
        if isinstance(value, dict):
            value = value.get("say")
        if isinstance(value, str):
            return value
    return ""


def arrived(row, context, index, count):
    headers = {k: v for k, v in sorted(context.get_all_request_header(index).items()) if k.lower() != "host"}
    return {"of": count, "row": {key: told(row[key]) for key in sorted(row)}, "headers": headers}


class Probe:
    def initialize(self, context):
        self.context = context
        print("probe is set up", flush=True)

    def handle(self, data, context):
        answers = []
        for index, row in enumerate(data):
            verb, _, rest = text_of(row).partition(" ")
            act = getattr(self, "do_" + verb, None)
            answers.append(act(rest, context, index, data) if act else arrived(row, context, index, len(data)))
        if answers and answers[0] == "<none>":
            return None
        if answers and answers[0] == "<mapping>":
            return {"a": 1}
        if answers and answers[0] == "<few>":
            return []
        return answers

    def do_fail(self, rest, *_):
        raise ValueError(rest)

    def do_cuda(self, rest, *_):
        raise RuntimeError("CUDA error: " + rest)

    def do_runtime(self, rest, *_):
        raise RuntimeError(rest)

    def do_memory(self, rest, *_):
        raise MemoryError(rest)

    def do_refuse(self, rest, *_):
        code, _, text = rest.partition(" ")
        raise PredictionException(text, int(code))

    def do_sleep(self, rest, *_):
        time.sleep(float(rest))
        return "slept"

    def do_hold(self, rest, *_):
        gate = os.path.join(os.environ["PARITY_HOME"], rest)
        open(gate + ".in", "w").close()
        while not os.path.exists(gate):
            time.sleep(0.01)
        return "let go"

    def do_exit(self, rest, *_):
        os._exit(int(rest))

    def do_none(self, *_):
        return "<none>"

    def do_mapping(self, *_):
        return "<mapping>"

    def do_few(self, *_):
        return "<few>"

    def do_object(self, *_):
        return object()

    def do_numpy(self, *_):
        import numpy
        return numpy.float32(1.5)

    def do_big(self, rest, *_):
        return b"x" * int(rest)

    def do_text(self, rest, *_):
        return rest

    def do_bytes(self, rest, *_):
        return bytes.fromhex(rest)

    def do_number(self, rest, *_):
        return float(rest) if "." in rest else int(rest)

    def do_true(self, *_):
        return True

    def do_null(self, *_):
        return None

    def do_list(self, *_):
        return [1, "zwei", {"drei": 3.5, "\\u00e4": None}]

    def do_count(self, rest, context, index, data):
        return {"of": len(data), "index": index, "said": rest}

    def do_status(self, rest, context, index, data):
        code, _, phrase = rest.partition(" ")
        context.set_response_status(int(code), phrase, index)
        return "status set"

    def do_header(self, rest, context, index, data):
        context.set_response_header(index, *rest.split("=", 1))
        return "header set"

    def do_type(self, rest, context, index, data):
        context.set_response_content_type(index, rest)
        return "type set"

    def do_print(self, rest, *_):
        print("out " + rest, flush=True)
        print("err " + rest, file=sys.stderr, flush=True)
        return "printed"

    def do_stream(self, rest, context, index, data):
        for number in range(int(rest)):
            send_intermediate_predict_response(
                ["part %d;" % number] * len(data), context.request_ids, "part", 200, context)
        return "end"

    def do_env(self, rest, *_):
        return str(os.environ.get(rest))

    def do_known(self, *_):
        names = ("gpu_id", "batch_size", "server_name", "limit_max_image_pixels")
        kept = {name: self.context.system_properties.get(name) for name in names}
        return {"properties": kept, "name": self.context.model_name, "yaml": self.context.model_yaml_config}
"""

ECHO = """
def handle(data, context):
    if data is None:
        return None
    return [row.get("body") or row.get("data") or "nothing" for row in data]
"""

DESCRIBES = """
class Describes:
    def initialize(self, context):
        pass

    def handle(self, data, context):
        if context.get_request_header(0, "describe") == "True":
            return [{"told": "by the handler", "rows": len(data), "row": sorted(data[0])}]
        return ["served"] * len(data)
"""

BROKEN = """
class Broken:
    def initialize(self, context):
        raise ValueError("no weights in this archive")

    def handle(self, data, context):
        return ["never"] * len(data)
"""

LOADS_SLOWLY = """
import os, time


class Slow:
    def initialize(self, context):
        while not os.path.exists(os.path.join(os.environ["PARITY_HOME"], "load")):
            time.sleep(0.01)

    def handle(self, data, context):
        return ["served"] * len(data)
"""

TWO_CLASSES = """
class One:
    def initialize(self, context):
        pass

    def handle(self, data, context):
        return data


class Two(One):
    pass
"""

METERS = """
class Meters:
    def initialize(self, context):
        self.context = context

    def handle(self, data, context):
        metrics = context.metrics
        for row in data:
            metrics.add_counter("ProbeCount", 2)
            metrics.add_time("ProbeTime", 1.5, unit="s")
            metrics.add_size("ProbeSize", 3.0)
            metrics.add_percent("ProbePercent", 50)
            metrics.add_error("ProbeError", 1)
            metrics.add_metric("ProbeLength", 7, "km")
        return ["counted"] * len(data)
"""

# A model of a workflow: says what it got.
SAID = """
def handle(data, context):
    if data is None:
        return None
    texts = [row["body"] if isinstance(row.get("body"), str) else bytes(row.get("body") or b"").decode() for row in data]
    return ["said(" + text + ")" for text in texts]
"""
