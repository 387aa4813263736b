"""The Open Inference Protocol through the whole server, asked by Triton's own client and by hand."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .live import LiveServer, eventually, make_model

client = pytest.importorskip("tritonclient.http")
aio = pytest.importorskip("tritonclient.http.aio")
from tritonclient.utils import InferenceServerException  # noqa: E402

ECHO = """
def handle(data, context):
    return None if data is None else [{f"{name}_out": array for name, array in row.items()} for row in data]
"""
TYPED = """
inputs:
  - {name: x, datatype: FP32, shape: [-1, 3]}
outputs:
  - {name: y, datatype: FP32, shape: [-1, 3]}
minWorkers: 1
maxWorkers: 1
"""
DOUBLES = """
def handle(data, context):
    return None if data is None else [{"y": row["x"] * 2} for row in data]
"""


ROWS = """
def handle(data, context):
    if data is None:
        return None
    return [ValueError("three") if row["x"][0, 0] == 3 else {"y": row["x"] * 2, "of": [len(data)]} for row in data]
"""
BATCHED = """
minWorkers: 1
maxWorkers: 1
batchSize: 4
maxBatchDelay: 60000
batchPolicy: fixed
batchDimension: true
"""


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[LiveServer]:
    make_model(home / "store", "echo", ECHO)
    make_model(home / "store", "doubles", DOUBLES, config=TYPED)
    make_model(home / "store", "later", DOUBLES)
    make_model(home / "store", "rows", ROWS, config=BATCHED)
    running = LiveServer(
        home, ("echo", "doubles", "rows"), properties="max_request_size=3000000\nmax_response_size=9000000"
    ).wait()
    for model in ("echo", "doubles", "rows"):
        running.ready(model)
    yield running
    running.stop()


@pytest.fixture
def triton(server: LiveServer) -> Iterator[Any]:
    with client.InferenceServerClient(f"127.0.0.1:{server.ports['Inference']}") as made:
        yield made
    made.close = lambda: None  # its __del__ closes it again, which fails in another thread


def tensor(name: str, array: Any, datatype: str, *, binary: bool) -> Any:
    made = client.InferInput(name, array.shape, datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


ARRAYS = [
    ("BOOL", np.array([[True, False]])), ("UINT8", np.array([0, 255], "u1")), ("UINT16", np.array([[65535]], "u2")),
    ("UINT32", np.array([2**32 - 1], "u4")), ("UINT64", np.array([2**64 - 1], "u8")), ("INT8", np.array([-128], "i1")),
    ("INT16", np.array([-1], "i2")), ("INT32", np.array([[1], [2]], "i4")), ("INT64", np.array([-(2**63)], "i8")),
    ("FP32", np.array([0.1, -1.5], "f4")), ("FP64", np.array([1e300])), ("FP32", np.zeros((0, 3), "f4")),
    ("BYTES", np.array([b"a", "\u00e9".encode(), b""], dtype=object)),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "got"), [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize(("datatype", "array"), ARRAYS)
def test_every_datatype_there_and_back(triton: Any, datatype: str, array: Any, sent: bool, got: bool) -> None:
    wanted = [client.InferRequestedOutput("x_out", binary_data=got)]
    found = triton.infer("echo", [tensor("x", array, datatype, binary=sent)], outputs=wanted, request_id="mine")
    assert found.get_response()["id"] == "mine"
    back = found.as_numpy("x_out")
    assert found.get_output("x_out")["datatype"] == datatype
    shown = (
        back.tolist() if back.dtype != object else [each if isinstance(each, bytes) else each.encode() for each in back]
    )
    assert shown == array.tolist()


def test_half_precision_comes_in_binary_form(triton: Any) -> None:
    half = np.array([1.5, 65504], "f2")
    assert triton.infer("echo", [tensor("x", half, "FP16", binary=True)]).as_numpy("x_out").tolist() == half.tolist()


def test_several_inputs_and_a_large_one_by_shared_memory_with_the_worker(triton: Any) -> None:
    image = np.random.default_rng(1).random((1, 3, 224, 224), "f4")
    inputs = [tensor("image", image, "FP32", binary=True), tensor("n", np.array([7], "i4"), "INT32", binary=False)]
    found = triton.infer("echo", inputs)
    assert (found.as_numpy("image_out") == image).all()
    assert found.as_numpy("n_out").tolist() == [7]


def test_a_long_document_is_read_by_the_worker(triton: Any) -> None:
    array = np.arange(200_000, dtype="i4")
    found = triton.infer("echo", [tensor("x", array, "INT32", binary=False)])
    assert (found.as_numpy("x_out") == array).all()


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed_requests_and_answers(triton: Any, coding: str) -> None:
    array = np.arange(100_000, dtype="f4")
    found = triton.infer(
        "echo", [tensor("x", array, "FP32", binary=True)],
        request_compression_algorithm=coding, response_compression_algorithm=coding,
    )  # fmt: skip
    assert (found.as_numpy("x_out") == array).all()


def test_health_and_metadata(triton: Any) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("doubles")
    assert triton.is_model_ready("doubles", "1.0")
    assert not triton.is_model_ready("doubles", "9")
    assert not triton.is_model_ready("nobody")
    assert "binary_tensor_data" in triton.get_server_metadata()["extensions"]
    assert triton.get_model_metadata("doubles", "1.0") == {
        "name": "doubles", "versions": ["1.0"], "platform": "pytorch",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}],
    }  # fmt: skip
    assert triton.get_model_config("doubles")["input"] == [
        {"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 3], "format": "FORMAT_NONE"}
    ]


@pytest.mark.parametrize(
    ("model", "name", "array", "datatype", "told"),
    [
        (
            "doubles",
            "x",
            np.zeros((1, 4), "f4"),
            "FP32",
            "has the shape [-1, 3], -1 being any size, and the request's has [1, 4]",
        ),
        ("doubles", "x", np.zeros((1, 3)), "FP64", "Input 'x' of model doubles is FP32, and the request's is FP64"),
        ("doubles", "z", np.zeros((1, 3), "f4"), "FP32", "needs the inputs 'x', and 'x' is not there"),
        ("nobody", "x", np.zeros((1, 3), "f4"), "FP32", "Request for unknown model: 'nobody' is not found"),
    ],
)
def test_what_does_not_fit_is_told_to_the_client(
    triton: Any, model: str, name: str, array: Any, datatype: str, told: str
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        triton.infer(model, [tensor(name, array, datatype, binary=True)])
    assert told in caught.value.message()


def test_an_output_that_is_not_there_is_told(triton: Any) -> None:
    x = [tensor("x", np.zeros((1, 3), "f4"), "FP32", binary=True)]
    for model, told in (("doubles", "has no output 'z'; its outputs are 'y'"), ("echo", "and no 'z'")):
        with pytest.raises(InferenceServerException) as caught:
            triton.infer(model, x, outputs=[client.InferRequestedOutput("z")])
        assert told in caught.value.message()


def test_statistics_count_what_was_answered(triton: Any) -> None:
    def read() -> tuple[int, int, int]:
        (found,) = triton.get_inference_statistics("doubles")["model_stats"]
        stats = found["inference_stats"]
        assert stats["success"]["count"] == found["inference_count"]
        by_size = found["batch_stats"]
        assert sum(each["compute_infer"]["count"] for each in by_size) == found["execution_count"]
        assert sum(each["compute_infer"]["ns"] for each in by_size) == pytest.approx(
            stats["compute_infer"]["ns"], abs=9
        )
        return found["inference_count"], found["execution_count"], stats["success"]["ns"]

    before, begun = read(), int(time.time() * 1e3)
    x = [tensor("x", np.ones((1, 3), "f4"), "FP32", binary=True)]
    for _ in range(3):
        assert triton.infer("doubles", x).as_numpy("y").tolist() == [[2, 2, 2]]
    eventually(lambda: read()[:2] == (before[0] + 3, before[1] + 3))
    assert read()[2] > before[2]
    (found,) = triton.get_inference_statistics("doubles")["model_stats"]
    assert begun <= found["last_inference"] <= time.time() * 1e3
    assert {each["name"] for each in triton.get_inference_statistics()["model_stats"]} >= {"echo", "doubles"}


def test_the_repository_loads_and_unloads(triton: Any) -> None:
    triton.load_model("later")
    assert triton.is_model_ready("later")
    triton.load_model("later")
    entries = {each["name"]: each["state"] for each in triton.get_model_repository_index()}
    assert entries == {"echo": "READY", "doubles": "READY", "rows": "READY", "later": "READY"}
    triton.unload_model("later")
    assert not triton.is_model_ready("later")
    for name in ("nobody", "..%2Fstore", "later.mar"):
        with pytest.raises(InferenceServerException, match="no archive of model"):
            triton.load_model(name)
    with pytest.raises(InferenceServerException, match="takes no parameters"):
        triton.load_model("later", config="{}")


def test_the_asynchronous_client(server: LiveServer) -> None:
    async def ask() -> list[Any]:
        async with aio.InferenceServerClient(f"127.0.0.1:{server.ports['Inference']}") as made:
            assert await made.is_model_ready("doubles")
            arrays = [np.full((2, 3), n, "f4") for n in range(8)]
            found = await asyncio.gather(
                *(
                    made.infer("doubles", [tensor("x", each, "FP32", binary=True)], model_version="1.0")
                    for each in arrays
                )
            )
            return [each.as_numpy("y")[0, 0] for each in found]

    assert asyncio.run(ask()) == [2 * n for n in range(8)]


@pytest.mark.parametrize("binary", [True, False])
def test_rows_share_batches_with_those_of_other_requests(server: LiveServer, binary: bool) -> None:
    async def ask() -> list[Any]:
        async with aio.InferenceServerClient(f"127.0.0.1:{server.ports['Inference']}") as made:
            outputs = [aio.InferRequestedOutput(name, binary_data=binary) for name in ("of", "y")]
            sent = [np.array([[5], [6], [7]], "f4"), np.array([[8]], "f4")]
            return await asyncio.gather(
                *(made.infer("rows", [tensor("x", each, "FP32", binary=True)], outputs=outputs) for each in sent)
            )

    three, one = asyncio.run(ask())
    assert (three.as_numpy("y").tolist(), three.as_numpy("of").tolist()) == ([[10], [12], [14]], [4, 4, 4])
    assert (one.as_numpy("y").tolist(), one.as_numpy("of").tolist()) == ([[16]], [4])


def test_a_row_that_fails_is_named(triton: Any) -> None:
    with pytest.raises(InferenceServerException, match="Row 2 of 4: Prediction failed"):
        triton.infer("rows", [tensor("x", np.array([[1], [2], [3], [4]], "f4"), "FP32", binary=True)])
    with pytest.raises(InferenceServerException, match="101 rows and model rows queues at most 100"):
        triton.infer("rows", [tensor("x", np.ones((101, 1), "f4"), "FP32", binary=True)])


def test_cuda_shared_memory_is_refused(triton: Any) -> None:
    assert triton.get_cuda_shared_memory_status() == []
    with pytest.raises(InferenceServerException, match="CUDA shared memory is not supported"):
        triton.get_cuda_shared_memory_status("region")


def test_an_infer_by_hand_in_json(server: LiveServer) -> None:
    said = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [[1, 2, 3]]}], "id": "7"}
    found = server.call("Inference", "POST", "/v2/models/doubles/infer", json.dumps(said).encode())
    assert (found.status, found.headers["content-type"]) == (200, "application/json")
    assert found.json == {
        "model_name": "doubles", "model_version": "1.0", "id": "7",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [2.0, 4.0, 6.0]}],
    }  # fmt: skip
