"""KServe's runtime for TorchServe: its arguments, variables, user and configuration start the server unchanged."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from torchserve.http.rpc.protos.messages import message

from ..standins.pod import Asked, Seen, available, run_pod
from .live import COMMAND, environment, make_model

pytestmark = pytest.mark.skipif(not available(), reason="needs root, and namespaces")

ARGUMENTS = (
    "--start", "--model-store=/mnt/models/model-store", "--ts-config=/mnt/models/config/config.properties",
)  # fmt: skip
TWICE = """
def handle(data, context):
    if data is None:
        return None
    return [[each * 2 for each in row["data"]] if isinstance(row, dict) else row * 2 for row in data]
"""
SNAPSHOT = {
    "name": "startup.cfg", "modelCount": 1, "models": {"twice": {"1.0": {
        "defaultVersion": True, "marName": "twice", "minWorkers": 1, "maxWorkers": 5, "batchSize": 5,
        "maxBatchDelay": 200, "responseTimeout": 60,
    }}},
}  # fmt: skip
# The keys and ports that KServe's own samples have.
CONFIG = f"""
inference_address=http://0.0.0.0:8085
management_address=http://0.0.0.0:8085
metrics_address=http://0.0.0.0:8082
grpc_inference_port=7070
grpc_management_port=7071
enable_envvars_config=true
install_py_dep_per_model=true
enable_metrics_api=true
metrics_mode=prometheus
NUM_WORKERS=1
number_of_netty_threads=4
job_queue_size=10
load_models=all
model_store=/mnt/models/model-store
model_snapshot={json.dumps(SNAPSHOT)}
"""
Request, Response = message("inference.ModelInferRequest"), message("inference.ModelInferResponse")
TENSOR = {"name": "x", "shape": [3], "datatype": "FP32", "data": [1, 2, 3]}
READY: Asked = {"port": 8080, "method": "GET", "path": "/v1/models/twice", "until": 200}


def served(home: Path, protocol: str, envelope: str, asked: list[Asked]) -> Seen:
    """What a container of KServe's answers, once its model is ready."""
    for part in (home, *home.parents):
        if part.is_relative_to("/tmp") and part != Path("/tmp"):
            part.chmod(0o755)
    models, work = home / "models", home / "work"
    make_model(models / "model-store", "twice", TWICE, config="minWorkers: 1\nmaxWorkers: 5\n")
    (models / "config").mkdir()
    (models / "config" / "config.properties").write_text(CONFIG)
    work.mkdir()
    variables = environment(work, {"PROTOCOL_VERSION": protocol, "TS_SERVICE_ENVELOPE": envelope})
    for each in (work, work / "tmp"):
        each.chmod(0o777)
    seen = run_pod(
        [*COMMAND, *ARGUMENTS, "--foreground"], asked,
        mounts={"/mnt/models": models}, environment=variables, folder=work, uid=1000,
    )  # fmt: skip
    assert seen["code"] == 0, seen["output"]
    return seen


def test_the_first_protocol(tmp_path: Path) -> None:
    body = json.dumps({"instances": [1, 2.5]})
    seen = served(
        tmp_path, "v1", "kserve",
        [
            {**READY, "path": "/v2/models/twice/ready"},
            {"port": 8080, "method": "POST", "path": "/v1/models/twice:predict", "body": body},
            {"port": 8080, "method": "POST", "path": "/v1/models/twice:explain", "body": body},
            {"port": 8080, "method": "GET", "path": "/"},
            {"port": 8085, "method": "GET", "path": "/models/twice"},
            {"port": 8085, "method": "POST", "path": "/v1/models/twice:predict", "body": body},
            {"port": 8080, "method": "GET", "path": "/models"},
        ],
    )  # fmt: skip
    ready, predicted, explained, alive, described, direct, listed = seen["answers"]
    assert (ready[0], json.loads(ready[1])["ready"]) == (200, True)
    assert (predicted[0], json.loads(predicted[1])) == (200, {"predictions": [2, 5.0]})
    assert (explained[0], json.loads(explained[1])) == (200, {"explanations": [2, 5.0]})
    assert (alive[0], json.loads(alive[1])) == (200, {"status": "alive"})
    assert json.loads(described[1])[0]["maxWorkers"] == 5
    assert direct == predicted
    assert listed[0] == 404, "the platform's ports are for predictions alone"
    (line,) = [line for line in seen["output"].splitlines() if "This is KServe, as PROTOCOL_VERSION=v1" in line]
    assert "token authorization is off (KServe (PROTOCOL_VERSION=v1))" in line


def test_the_second_protocol_over_http_and_grpc(tmp_path: Path) -> None:
    asked = Request(model_name="twice", id="mine")
    tensor = asked.inputs.add(name="x", datatype="FP32", shape=[3])
    tensor.contents.fp32_contents.extend([1, 2, 3])
    seen = served(
        tmp_path, "v2", "kservev2",
        [
            {**READY, "path": "/v2/models/twice/ready"},
            {"port": 8080, "method": "POST", "path": "/v2/models/twice/infer", "body": json.dumps({"inputs": [TENSOR]})},
            {
                "port": 8081, "path": "/inference.GRPCInferenceService/ModelInfer",
                "message": base64.b64encode(asked.SerializeToString()).decode(),
            },
            {"port": 8082, "method": "GET", "path": "/metrics"},
        ],
    )  # fmt: skip
    ready, inferred, called, metrics = seen["answers"]
    assert (ready[0], json.loads(ready[1])["ready"]) == (200, True)
    output: Any = json.loads(inferred[1])["outputs"][0]
    assert (inferred[0], output["data"], output["datatype"]) == (200, [2, 4, 6], "INT64"), (
        "as TorchServe's envelope has it"
    )
    assert called[0] == 0, called[1]
    found = Response.FromString(base64.b64decode(called[1]))
    assert (found.id, list(found.outputs[0].contents.fp64_contents)) == ("mine", [2, 4, 6])
    assert (metrics[0], "ts_inference_requests_total" in metrics[1]) == (200, True)
