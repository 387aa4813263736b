"""The Open Inference Protocol over gRPC through the whole server, asked by Triton's own client and by plain messages."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException

from torchserve.http.rpc.protos.messages import message

from .live import LiveServer, make_model
from .test_open_inference import ARRAYS, DOUBLES, ECHO, TYPED

JSON_ECHO = """
import json

def handle(data, context):
    if data is None:
        return None
    answers = []
    for row in data:
        body = row["body"]
        outputs = [{**each, "name": each["name"] + "_out"} for each in body["inputs"]]
        answers.append({"id": body.get("id", ""), "model_name": "jsons", "outputs": outputs})
    return answers
"""
STATEFUL = "minWorkers: 1\nmaxWorkers: 1\nsequenceBatching: true\nmaxNumSequence: 2\nsequenceMaxIdleMSec: 60000\n"
SUMS = """
class Sums:
    def initialize(self, context):
        self.seen = {}

    def handle(self, data, context):
        answers = []
        for at, row in enumerate(data):
            sequence = context.get_sequence_id(at)
            self.seen[sequence] = self.seen.get(sequence, 0) + int(row["x"][0])
            answers.append({"sum": self.seen[sequence]})
        return answers
"""
Asked, Answer = message("inference.ModelInferRequest"), message("inference.ModelInferResponse")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[LiveServer]:
    make_model(home / "store", "echo", ECHO, config="minWorkers: 1\nmaxWorkers: 1\n")
    make_model(home / "store", "doubles", DOUBLES, config=TYPED)
    make_model(home / "store", "jsons", JSON_ECHO, config="minWorkers: 1\nmaxWorkers: 1\n")
    make_model(home / "store", "sums", SUMS, config=STATEFUL)
    make_model(home / "store", "later", DOUBLES)
    models = ("echo", "doubles", "jsons", "sums")
    running = LiveServer(home, models, properties="max_request_size=9000000\nmax_response_size=9000000").wait()
    for model in models:
        running.ready(model)
    yield running
    running.stop()


@pytest.fixture
def client(server: LiveServer) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.ports['gRPC inference']}") as made:
        yield made


def tensor(name: str, array: Any, datatype: str) -> Any:
    made = triton.InferInput(name, array.shape, datatype)
    made.set_data_from_numpy(array)
    return made


def listed(array: Any) -> Any:
    return (
        [each if isinstance(each, bytes) else each.encode() for each in array]
        if array.dtype == object
        else array.tolist()
    )


@pytest.mark.parametrize(("datatype", "array"), [*ARRAYS, ("FP16", np.array([1.5, 65504], "f2"))])
def test_every_datatype_there_and_back(client: Any, datatype: str, array: Any) -> None:
    found = client.infer("echo", [tensor("x", array, datatype)], request_id="mine")
    assert found.get_response().id == "mine"
    assert found.get_output("x_out").datatype == datatype
    assert listed(found.as_numpy("x_out")) == array.tolist()


def test_large_tensors_and_several(client: Any) -> None:
    image = np.random.default_rng(1).random((2, 3, 400, 400), "f4")
    found = client.infer("echo", [tensor("image", image, "FP32"), tensor("n", np.array([7], "i4"), "INT32")])
    assert (found.as_numpy("image_out") == image).all()
    assert found.as_numpy("n_out").tolist() == [7]


def test_only_the_wanted_outputs_come(client: Any) -> None:
    inputs = [tensor(name, np.array([1], "i4"), "INT32") for name in ("a", "b")]
    found = client.infer("echo", inputs, outputs=[triton.InferRequestedOutput("b_out")])
    assert [each.name for each in found.get_response().outputs] == ["b_out"]


async def test_the_asynchronous_client(server: LiveServer) -> None:
    async with aio.InferenceServerClient(f"127.0.0.1:{server.ports['gRPC inference']}") as made:
        found = await made.infer("doubles", [tensor("x", np.array([[1, 2, 3]], "f4"), "FP32")])
        assert found.as_numpy("y").tolist() == [[2, 4, 6]]


def test_a_rest_port_speaks_it_too(server: LiveServer) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{server.ports['Inference']}") as made:
        assert made.infer("doubles", [tensor("x", np.ones((1, 3), "f4"), "FP32")]).as_numpy("y").tolist() == [[2, 2, 2]]


def test_health_metadata_configuration_and_statistics(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("doubles")
    assert client.is_model_ready("doubles", "1.0")
    assert not client.is_model_ready("doubles", "9")
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata().name == "torchserve"
    told = client.get_model_metadata("doubles")
    assert (told.name, list(told.versions), told.inputs[0].name, list(told.inputs[0].shape)) == (
        "doubles", ["1.0"], "x", [-1, 3],
    )  # fmt: skip
    config = client.get_model_config("doubles").config
    assert (config.name, config.input[0].data_type, config.backend) == ("doubles", 11, "torchserve")
    client.infer("doubles", [tensor("x", np.ones((1, 3), "f4"), "FP32")])
    (counted,) = client.get_inference_statistics("doubles").model_stats
    assert counted.execution_count >= 1
    assert counted.inference_stats.queue.count >= 0
    with pytest.raises(InferenceServerException, match="NOT_FOUND"):
        client.get_model_metadata("nobody")


def test_the_repository(client: Any) -> None:
    names = {each.name for each in client.get_model_repository_index().models}
    assert {"echo", "doubles"} <= names
    assert "later" not in names
    client.load_model("later")
    assert client.is_model_ready("later")
    client.unload_model("later")
    assert not client.is_model_ready("later")
    with pytest.raises(InferenceServerException, match="NOT_FOUND"):
        client.load_model("nobody")
    with pytest.raises(InferenceServerException, match="takes no parameters"):
        client.load_model("later", config="{}")


def test_many_requests_on_one_stream(client: Any) -> None:
    got: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(callback=lambda result, error: got.put((result, error)))
    for n in range(3):
        client.async_stream_infer("doubles", [tensor("x", np.full((1, 3), n, "f4"), "FP32")], request_id=str(n))
    client.async_stream_infer("nobody", [tensor("x", np.ones((1, 3), "f4"), "FP32")])
    found = [got.get(timeout=60) for _ in range(4)]
    client.stop_stream()
    answers = {each.get_response().id: each.as_numpy("y").tolist() for each, error in found if error is None}
    assert answers == {str(n): [[2.0 * n] * 3] for n in range(3)}
    (failed,) = [error for _, error in found if error is not None]
    assert "Request for unknown model: 'nobody' is not found" in str(failed)


def test_a_sequence_by_triton_s_parameters(client: Any) -> None:
    sums = [
        client.infer("sums", [tensor("x", np.array([n], "i4"), "INT32")], sequence_id=7, sequence_start=n == 1)
        for n in (1, 2, 3)
    ]
    assert [int(each.as_numpy("sum").ravel()[0]) for each in sums] == [1, 3, 6]


def typed(**fields: Any) -> Any:
    return Asked(model_name="echo", inputs=[fields])


CONTENTS = [
    ("BOOL", "bool_contents", [True, False]), ("INT8", "int_contents", [-128, 127]), ("INT16", "int_contents", [-1, 2]),
    ("INT32", "int_contents", [-(2**31), 5]), ("INT64", "int64_contents", [-(2**63), 1]),
    ("UINT8", "uint_contents", [0, 255]), ("UINT16", "uint_contents", [65535, 1]),
    ("UINT32", "uint_contents", [2**32 - 1, 1]), ("UINT64", "uint64_contents", [2**64 - 1, 1]),
    ("FP32", "fp32_contents", [0.5, -1.5]), ("FP64", "fp64_contents", [1e300, 0.1]),
    ("BYTES", "bytes_contents", [b"a", b"\xff\x00"]),
]  # fmt: skip


@pytest.mark.parametrize("package", ["inference", "org.pytorch.serve.grpc.openinference"])
@pytest.mark.parametrize(("datatype", "field", "values"), CONTENTS)
def test_typed_contents_are_answered_in_typed_contents(
    server: LiveServer, package: str, datatype: str, field: str, values: list[Any]
) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.ports['gRPC inference']}") as channel:
        infer = channel.unary_unary(
            f"/{package}.GRPCInferenceService/ModelInfer",
            request_serializer=Asked.SerializeToString,
            response_deserializer=Answer.FromString,
        )
        found = infer(typed(name="x", datatype=datatype, shape=[2], contents={field: values}), timeout=60)
    (output,) = found.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("x_out", datatype, [2])
    assert list(getattr(output.contents, field)) == values
    assert not found.raw_output_contents


def test_a_handler_that_reads_and_writes_json(client: Any) -> None:
    found = client.infer("jsons", [tensor("x", np.array([1, 2], "i4"), "INT32")], request_id="j")
    assert found.as_numpy("x_out").tolist() == [1, 2]


# A wrong request -> what the refusal says.
WRONG = [
    (Asked(model_name="echo"), "no inputs"),
    (typed(name="x", datatype="FP9", shape=[1]), "FP9"),
    (typed(name="x", datatype="FP32", shape=[-1]), "negative"),
    (typed(name="x", datatype="FP32", shape=[2**62, 2**62]), "elements"),
    (typed(name="x", datatype="FP32", shape=[2], contents={"fp32_contents": [1.0]}), "takes 8 bytes, and 4"),
    (typed(name="x", datatype="FP32", shape=[1], contents={"int_contents": [1]}), "fp32_contents"),
    (typed(name="x", datatype="INT8", shape=[1], contents={"int_contents": [128]}), "INT8 can't hold"),
    (typed(name="x", datatype="FP16", shape=[1]), "raw_input_contents"),
    (Asked(model_name="echo", inputs=[{"name": "x", "datatype": "FP32", "shape": [1], "contents": {"fp32_contents": [1]}}],
           raw_input_contents=[b"1234"]), "when using raw_input_contents for 'x' for model 'echo'"),
    (Asked(model_name="echo", inputs=[{"name": "x", "datatype": "FP32", "shape": [1]}], raw_input_contents=[b"1", b"2"]),
     "1 inputs and 2 raw_input_contents"),
    (Asked(model_name="echo", inputs=[{"name": "x", "datatype": "BYTES", "shape": [1]}],
           raw_input_contents=[b"\xff\0\0\0a"]), "says that it has 255 bytes"),
    (Asked(model_name="echo", inputs=[{"name": "x", "datatype": "INT8", "shape": [0]}] * 2), "the name 'x'"),
    (Asked(model_name="echo", inputs=[{"name": str(n), "datatype": "INT8", "shape": [0]} for n in range(100_000)]),
     "more than 2048 fields"),
    (Asked(model_name="echo", inputs=[{"name": str(n), "datatype": "INT8", "shape": [0]} for n in range(257)]),
     "257 inputs and at most 256"),
    (Asked(model_name="doubles", inputs=[{"name": "z", "datatype": "FP32", "shape": [1, 3]}], raw_input_contents=[bytes(12)]),
     "needs the inputs 'x'"),
    (Asked(model_name="echo", inputs=[{"name": "x", "datatype": "INT8", "shape": [0]}], outputs=[{"name": "nope"}]), "nope"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "text"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_request_is_refused_by_name(server: LiveServer, asked: Any, text: str) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.ports['gRPC inference']}") as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer", response_deserializer=Answer.FromString
        )
        with pytest.raises(grpc.RpcError) as failed:
            infer(asked.SerializeToString(), timeout=60)
        assert failed.value.code() == grpc.StatusCode.INVALID_ARGUMENT, failed.value.details()
        assert text in failed.value.details()
        assert "Exception" not in failed.value.details()
        good = typed(name="x", datatype="INT8", shape=[1], contents={"int_contents": [1]})
        assert infer(good.SerializeToString(), timeout=60).outputs
