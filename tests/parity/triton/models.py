"""The models of the comparison, each written twice: for Triton's Python backend, and as a folder that is served here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

_PLAIN_THERE = """
import numpy as np
import triton_python_backend_utils as triton

{code}

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            row = {{each.name(): each.as_numpy() for each in request.inputs()}}
            try:
                found = compute(row)
            except ValueError as error:
                answers.append(triton.InferenceResponse([], triton.TritonError(str(error))))
                continue
            answers.append(triton.InferenceResponse([triton.Tensor(name, array) for name, array in found.items()]))
        return answers
"""
_PLAIN_HERE = """
import numpy as np

{code}

def handle(data, context):
    return None if data is None else [compute(row) for row in data]
"""
_SIMPLE = (
    'def compute(row):\n    a, b = row["INPUT0"], row["INPUT1"]\n    return {"OUTPUT0": a + b, "OUTPUT1": a - b}\n'
)
_SAME = 'def compute(row):\n    return {"OUT": row["IN"]}\n'
_FAILS = 'def compute(row):\n    raise ValueError("no answer to that")\n'
_SUMS_THERE = """
import triton_python_backend_utils as triton

class TritonPythonModel:
    def initialize(self, arguments):
        self.sums = {}

    def execute(self, requests):
        answers = []
        for request in requests:
            of = {each.name(): each.as_numpy() for each in request.inputs()}
            key = of["CORRID"].ravel()[0]
            before = 0 if of["START"].ravel()[0] else self.sums[key]
            self.sums[key] = before + of["IN"]
            answers.append(triton.InferenceResponse([triton.Tensor("OUT", self.sums[key])]))
        return answers
"""
_SUMS_HERE = """
class Sums:
    def initialize(self, context):
        self.sums = {}

    def handle(self, data, context):
        answers = []
        for at, row in enumerate(data):
            key = context.get_sequence_id(at)
            if context.get_request_header(at, "ts_request_sequence_start") == "true":
                self.sums[key] = 0
            self.sums[key] = self.sums.get(key, 0) + row["IN"]
            answers.append({"OUT": self.sums[key]})
        return answers
"""
_REPEATS_THERE = """
import triton_python_backend_utils as triton

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            array = triton.get_input_tensor_by_name(request, "IN").as_numpy()
            for at in range(len(array)):
                sender.send(triton.InferenceResponse([triton.Tensor("OUT", array[at : at + 1])]))
            sender.send(flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
_REPEATS_HERE = """
from ts.handler_utils.utils import send_intermediate_predict_response

def handle(data, context):
    if data is None:
        return None
    array = data[0]["IN"]
    for at in range(len(array) - 1):
        send_intermediate_predict_response([{"OUT": array[at : at + 1]}], context.request_ids, "ok", 200, context)
    return [{"OUT": array[-1:]}]
"""
_SEQUENCE = """sequence_batching { max_sequence_idle_microseconds: 60000000 control_input [
 { name: "START" control [{ kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] }] },
 { name: "READY" control [{ kind: CONTROL_SEQUENCE_READY int32_false_true: [0, 1] }] },
 { name: "CORRID" control [{ kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 }] }] }
"""
TYPES = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES",
)  # fmt: skip


@dataclass(frozen=True)
class TwiceModel:
    """A model: its tensors as (name, datatype, dimensions) and what computes it on either side.

    With `rows` the first dimension counts rows, and is not among `dimensions`.
    """

    inputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    outputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    there: str
    here: str
    rows: int = 0
    config: str = ""
    yaml: str = ""


def _plain(
    code: str, inputs: tuple[str, ...], outputs: tuple[str, ...], datatype: str, size: int, rows: int = 0
) -> TwiceModel:
    ins, outs = (tuple((name, datatype, (size,)) for name in names) for names in (inputs, outputs))
    return TwiceModel(ins, outs, _PLAIN_THERE.format(code=code), _PLAIN_HERE.format(code=code), rows)


_IN, _OUT = (("IN", "INT32", (-1,)),), (("OUT", "INT32", (-1,)),)
MODELS: dict[str, TwiceModel] = {
    "simple": _plain(_SIMPLE, ("INPUT0", "INPUT1"), ("OUTPUT0", "OUTPUT1"), "INT32", 16, rows=8),
    "fails": _plain(_FAILS, ("IN",), ("OUT",), "INT32", 1),
    "later": _plain(_SAME, ("IN",), ("OUT",), "INT32", -1),
    **{f"same_{datatype}": _plain(_SAME, ("IN",), ("OUT",), datatype, -1) for datatype in TYPES},
    "sums": TwiceModel(
        _IN, _OUT, _SUMS_THERE, _SUMS_HERE, config=_SEQUENCE,
        yaml="sequenceBatching: true\nbatchSize: 8\nmaxBatchDelay: 1\nmaxNumSequence: 8\nmaxSequenceJobQueueSize: 8\nsequenceMaxIdleMSec: 60000\n",
    ),
    "repeats": TwiceModel(
        _IN, _OUT, _REPEATS_THERE, _REPEATS_HERE, config="model_transaction_policy { decoupled: true }\n"
    ),
}  # fmt: skip
LOADED = tuple(name for name in MODELS if name != "later")


def there(folder: Path) -> None:
    """Write all models as a repository of Triton's."""
    for name, model in MODELS.items():
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "1" / "model.py").write_text(model.there)
        tensors = "".join(
            f'{what} {{ name: "{tensor}" data_type: TYPE_{"STRING" if kind == "BYTES" else kind} dims: {list(shape)} }}\n'
            for what, specs in (("input", model.inputs), ("output", model.outputs))
            for tensor, kind, shape in specs
        )
        (folder / name / "config.pbtxt").write_text(
            f'name: "{name}" backend: "python" max_batch_size: {model.rows}\n{tensors}{model.config}'
            "instance_group [{ count: 1 kind: KIND_CPU }]\n"
        )


def here() -> tuple[tuple[str, str], ...]:
    """Return the files of all models as folders of a model store: path and text."""
    return tuple((f"store/{name}/{path}", text) for name, model in MODELS.items() for path, text in _files(name, model))


def _files(name: str, model: TwiceModel) -> list[tuple[str, str]]:
    told = {"modelName": name, "modelVersion": "1", "handler": "handler.py", "configFile": "model-config.yaml"}
    first = (-1,) if model.rows else ()
    specs = {
        what: [{"name": tensor, "datatype": kind, "shape": [*first, *shape]} for tensor, kind, shape in tensors]
        for what, tensors in (("inputs", model.inputs), ("outputs", model.outputs))
    }
    lines = [f"{what}: {json.dumps(each)}\n" for what, each in specs.items()]
    batch = f"batchDimension: true\nbatchSize: {model.rows}\nmaxBatchDelay: 1\n" if model.rows else ""
    return [
        ("MAR-INF/MANIFEST.json", json.dumps({"runtime": "python", "model": told})),
        ("model-config.yaml", f"minWorkers: 1\nmaxWorkers: 1\n{''.join(lines)}{batch}{model.yaml}"),
        ("handler.py", model.here),
    ]
