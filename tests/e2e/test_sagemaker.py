"""SageMaker: its multi-model endpoints on one port, and AWS's toolkit, which writes the configuration and starts all."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..ports import kept_ports
from ..standins.pod import Asked, available, run_pod
from .live import LiveServer, environment, make_model

# A Python that has sagemaker-pytorch-inference beside this server, and `torchserve` in its bin folder.
TOOLKIT = os.environ.get("SAGEMAKER_TOOLKIT_PYTHON", "")
ECHO = """
def handle(data, context):
    return [bytes(row.get("body") or b"") for row in data or ()]
"""
# What the toolkit writes for them, but for the handler.
MULTI_MODEL = """
vmargs=-XX:-UseContainerSupport
enable_envvars_config=true
model_store=/
default_workers_per_model=1
async_logging=true
decode_input_request=false
disable_token_authorization=true
enable_model_api=true
default_response_timeout=60
inference_address=http://0.0.0.0:{port}
management_address=http://0.0.0.0:{port}
"""
SINGLE = """
import json
def model_fn(model_dir):
    return lambda values: [2 * each for each in values]
def input_fn(data, content_type):
    return json.loads(data)
def predict_fn(data, model):
    return model(data)
def output_fn(prediction, accept):
    return json.dumps(prediction)
"""


@pytest.fixture(scope="module")
def endpoint(home: Path) -> Iterator[LiveServer]:
    """A multi-model endpoint without models, as the platform starts one."""
    make_model(home / "models", "echo", ECHO, config="")
    with kept_ports(1) as (port,):
        running = LiveServer(
            home, (), properties=MULTI_MODEL.format(port=port),
            env={"SAGEMAKER_MULTI_MODEL": "true", "SAGEMAKER_BIND_TO_PORT": str(port)},
        ).wait()  # fmt: skip
        yield running
        running.stop()


def loaded(endpoint: LiveServer, name: str, folder: str) -> int:
    body = json.dumps({"model_name": name, "url": str(endpoint.home / "models" / folder)}).encode()
    return endpoint.call("Inference", "POST", "/models", body, content_type="application/json").status


def test_the_lives_of_models(endpoint: LiveServer) -> None:
    assert endpoint.ports["Inference"] == endpoint.ports["Management"]
    assert endpoint.call("Inference", "GET", "/ping").status == 200, "without a model as well"
    assert loaded(endpoint, "mine", "echo") == 200
    assert loaded(endpoint, "mine", "echo") == 409
    assert loaded(endpoint, "nothing", "nobody") == 404
    listed = endpoint.call("Inference", "GET", "/models").json["models"]
    assert [each["modelName"] for each in listed] == ["mine"]
    assert endpoint.call("Inference", "GET", "/models/mine").status == 200
    assert endpoint.call("Inference", "GET", "/models/nobody").status == 404
    answer = endpoint.call("Inference", "POST", "/models/mine/invoke", b"text", content_type="text/plain")
    assert (answer.status, answer.body) == (200, b"text")
    assert endpoint.call("Inference", "POST", "/models/nobody/invoke", b"text").status == 404
    assert endpoint.call("Inference", "DELETE", "/models/mine").status == 200
    assert endpoint.call("Inference", "DELETE", "/models/mine").status == 404


def test_the_log_says_once_why_no_key_is_needed(endpoint: LiveServer) -> None:
    endpoint.until_logged("This is SageMaker, as SAGEMAKER_MULTI_MODEL is set")
    assert sum("This is SageMaker" in line for line in endpoint.lines) == 1


@pytest.mark.skipif(not (TOOLKIT and available()), reason="needs SAGEMAKER_TOOLKIT_PYTHON, root and namespaces")
@pytest.mark.parametrize("batched", [False, True])
def test_the_toolkit(tmp_path: Path, batched: bool) -> None:
    for name in ("ml/model/code", "work", "etc"):
        (tmp_path / name).mkdir(parents=True)
    subprocess.run(["cp", "-a", "/etc/.", tmp_path / "etc"], check=True)
    (tmp_path / "ml/model/code/inference.py").write_text(SINGLE)
    variables = environment(tmp_path / "work") | {
        "PATH": f"{Path(TOOLKIT).parent}:{os.environ['PATH']}",
        "SAGEMAKER_PROGRAM": "inference.py",
        "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
        **({"SAGEMAKER_TS_BATCH_SIZE": "4", "SAGEMAKER_TS_MAX_WORKERS": "2"} if batched else {}),
    }
    asked: list[Asked] = [
        {"port": 8080, "method": "GET", "path": "/ping", "until": 200},
        {"port": 8080, "method": "POST", "path": "/invocations", "body": "[1, 2]", "until": 200},
        {"port": 8080, "method": "GET", "path": "/models/model"},
    ]
    seen = run_pod(
        [TOOLKIT, "-c", "from sagemaker_pytorch_serving_container import serving; serving.main()"], asked,
        mounts={"/opt/ml": tmp_path / "ml", "/etc": tmp_path / "etc"}, environment=variables,
        folder=tmp_path / "work",
    )  # fmt: skip
    healthy, invoked, described = seen["answers"]
    assert (healthy[0], invoked) == (200, [200, "[2, 4]"]), seen["output"]
    entry = json.loads(described[1])[0]
    assert (entry["batchSize"], entry["maxWorkers"]) == ((4, 2) if batched else (1, entry["maxWorkers"]))
    assert seen["code"] == 0, seen["output"]
