"""gRPC of the real server: handlers get what TorchServe gives them, and management works from end to end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from torchserve.http.rpc.protos.messages import message

from .conftest import Serve
from .handlers import ECHO, PROBE, STREAMS
from .live import Gate, LiveServer, eventually, make_model

INFERENCE = "org.pytorch.serve.grpc.inference"
MANAGEMENT = "org.pytorch.serve.grpc.management"
ONE = "minWorkers: 1\nmaxWorkers: 1\n"
COUNTS = """
class Counts:
    def initialize(self, context):
        self.seen = {}

    def handle(self, data, context):
        answers = []
        for at, row in enumerate(data):
            sequence = context.get_sequence_id(at)
            self.seen[sequence] = self.seen.get(sequence, 0) + int(bytes(row["data"]))
            answers.append(str(self.seen[sequence]))
        return answers
"""
STATEFUL = (
    ONE + "batchSize: 2\nmaxBatchDelay: 1\nsequenceBatching: true\nmaxNumSequence: 2\nsequenceMaxIdleMSec: 60000\n"
)
Asked = message(f"{INFERENCE}.PredictionsRequest")
Answer = message(f"{INFERENCE}.PredictionResponse")


class Client:
    """Calls the two services."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.inference, self.management = (
            grpc.insecure_channel(f"127.0.0.1:{server.ports[f'gRPC {api}']}") for api in ("inference", "management")
        )

    def rpc(self, name: str, kind: str = "unary_unary") -> Any:
        return getattr(self.inference, kind)(
            f"/{INFERENCE}.InferenceAPIsService/{name}",
            request_serializer=Asked.SerializeToString,
            response_deserializer=Answer.FromString,
        )

    def predict(self, model: str, **inputs: bytes) -> bytes:
        return self.rpc("Predictions")(Asked(model_name=model, input=inputs), timeout=60).prediction

    def manage(self, name: str, **fields: Any) -> str:
        request, response = message(f"{MANAGEMENT}.{name}Request"), message(f"{MANAGEMENT}.ManagementResponse")
        call = self.management.unary_unary(
            f"/{MANAGEMENT}.ManagementAPIsService/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        return call(request(**fields), timeout=120).msg

    def close(self) -> None:
        self.inference.close()
        self.management.close()


@pytest.fixture
def client(serve: Serve, store: Path) -> Iterator[Client]:
    make_model(store, "probe", PROBE, config=ONE)
    make_model(store, "streams", STREAMS, config=ONE)
    make_model(store, "counts", COUNTS, config=STATEFUL)
    make_model(store, "echo", ECHO)
    server = serve("probe", "streams", "counts")
    for model in ("probe", "streams", "counts"):
        server.ready(model)
    made = Client(server)
    yield made
    made.close()


def test_what_handlers_get_and_give(client: Client) -> None:
    # Inputs by name, and the metadata as headers.
    call = client.rpc("Predictions").with_call
    answer, _ = call(
        Asked(model_name="probe", input={"data": b"hi", "other": b"x"}), metadata=(("x-mine", "yes"),), timeout=60
    )
    seen = json.loads(answer.prediction)
    assert (seen["text"], seen["names"], seen["headers"]["x-mine"]) == ("hi", ["data", "other"], "yes")
    assert client.predict("probe", data=b"big 3000000") == b"x" * 3_000_000
    large = b"plain " + bytes(5_000_000)
    assert json.loads(client.predict("probe", data=large))["text"].startswith("plain")

    # Errors of handlers, workers and clients.
    for text, code in ((b"refuse no", "FAILED_PRECONDITION"), (b"raise x", "UNAVAILABLE"), (b"exit 1", "INTERNAL")):
        with pytest.raises(grpc.RpcError) as failed:
            client.predict("probe", data=text)
        assert failed.value.code().name == code

    # A streamed answer by both methods.
    pieces = client.rpc("StreamPredictions", "unary_stream")(Asked(model_name="streams"), timeout=60)
    assert [each.prediction for each in pieces] == [b"0 ", b"1 ", b"2 ", b"end"]
    assert client.predict("streams") == b"0 1 2 end"

    # Sequences.
    many = [Asked(model_name="counts", sequence_id="s", input={"data": b"%d" % n}) for n in (1, 2, 3)]
    answered = []
    go_on = threading.Semaphore(1)

    def one_by_one() -> Iterator[Any]:
        for each in many:
            go_on.acquire()
            yield each

    for each in client.rpc("StreamPredictions2", "stream_stream")(one_by_one(), timeout=60):
        answered.append((each.prediction, each.sequence_id, each.HasField("status")))
        go_on.release()
    assert answered == [(b"1", "s", False), (b"3", "s", False), (b"6", "s", False)]


def test_a_cancelled_call_leaves_the_queue(client: Client, tmp_path: Path) -> None:
    server = client.server
    gate = Gate(tmp_path / "gate")
    first = client.rpc("Predictions").future(Asked(model_name="probe", input={"data": f"hold {gate}".encode()}))
    gate.reached()
    second = client.rpc("Predictions").future(Asked(model_name="probe", input={"data": b"never"}))
    eventually(lambda: server.accepted("probe") == (1, 1))
    second.cancel()
    eventually(lambda: server.accepted("probe") == (1, 0))
    with pytest.raises(grpc.RpcError) as late:
        client.rpc("Predictions")(Asked(model_name="probe", input={"data": b"late"}), timeout=0.2)
    assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: server.accepted("probe") == (1, 0))
    gate.open()
    assert json.loads(first.result(timeout=60).prediction)["batch"] == 1
    assert server.has_logged('"gRPC org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions HTTP/2.0" 1 ')


def test_a_model_s_life(client: Client) -> None:
    assert client.manage("RegisterModel", url="echo", initial_workers=1, synchronous=True) == (
        'Model "echo" Version: 1.0 registered with 1 initial workers'
    )
    with pytest.raises(grpc.RpcError) as again:
        client.manage("RegisterModel", url="echo")
    assert again.value.code() == grpc.StatusCode.ALREADY_EXISTS
    assert client.predict("echo", data=b"1")
    assert client.manage("ScaleWorker", model_name="echo", min_worker=2, synchronous=True) == (
        "Workers scaled to 2 for model: echo"
    )
    (described,) = json.loads(client.manage("DescribeModel", model_name="echo"))
    assert len(described["workers"]) == 2
    listed = json.loads(client.manage("ListModels", limit=2))
    assert [each["modelName"] for each in listed["models"]] == ["counts", "echo"]
    assert listed["nextPageToken"] == "2"
    assert "successfully updated" in client.manage("SetDefault", model_name="echo", model_version="1.0")
    assert client.manage("UnregisterModel", model_name="echo") == 'Model "echo" unregistered'
    with pytest.raises(grpc.RpcError) as gone:
        client.manage("DescribeModel", model_name="echo")
    assert gone.value.code() == grpc.StatusCode.NOT_FOUND


def test_without_grpc_there_is_none(serve: Serve, store: Path) -> None:
    make_model(store, "echo", ECHO)
    server = serve("echo", properties="enable_grpc=false")
    assert not any("gRPC" in line for line in server.lines)
    server.ready("echo")


def test_a_taken_port_stops_the_start_with_the_name_of_its_setting(serve: Serve, store: Path, tmp_path: Path) -> None:
    make_model(store, "echo", ECHO)
    first = serve("echo")
    number = first.ports["gRPC inference"]
    (tmp_path / "second" / "store").mkdir(parents=True)
    second = LiveServer(tmp_path / "second", [], properties=f"grpc_inference_port={number}")
    try:
        eventually(lambda: second.process.poll() is not None)
        assert second.process.returncode == 1
        assert any("grpc_inference_port" in line and "another program listens there" in line for line in second.lines)
    finally:
        second.stop()
