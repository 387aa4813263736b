"""System shared memory through the whole server, by Triton's own clients over HTTP and gRPC, and by clients that mean harm."""

from __future__ import annotations

import http.client
import json
import os
import queue
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import psutil
import pytest

from ..standins.triton_regions import triton_regions
from .live import LiveServer, eventually, make_model
from .test_open_inference import ECHO

over_http = pytest.importorskip("tritonclient.http")
over_grpc = pytest.importorskip("tritonclient.grpc")
from tritonclient.utils import InferenceServerException, serialize_byte_tensor  # noqa: E402

shm = triton_regions()
SHM = Path("/dev/shm")
ROWS = """
def handle(data, context):
    return None if data is None else [{"y": row["x"] * 2} for row in data]
"""
BATCHED = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\nmaxBatchDelay: 10\nbatchDimension: true\n"
# A client of another user, with nothing but what is built in: that user may not be able to read the packages.
_STRANGER = """
import os, socket, sys
os.setgid({user}); os.setuid({user})
made = socket.socket()
made.connect(("127.0.0.1", {port}))
made.sendall(sys.stdin.buffer.read())
answer = b""
while piece := made.recv(65536):
    answer += piece
sys.stdout.buffer.write(answer)
"""


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[LiveServer]:
    make_model(home / "store", "echo", ECHO, config="minWorkers: 1\nmaxWorkers: 1\n")
    make_model(home / "store", "rows", ROWS, config=BATCHED)
    size = "max_request_size=40000000\nmax_response_size=40000000"
    running = LiveServer(home, ("echo", "rows"), properties=size).wait()
    for model in ("echo", "rows"):
        running.ready(model)
    yield running
    running.stop()


@pytest.fixture(params=["HTTP", "gRPC"])
def client(server: LiveServer, request: pytest.FixtureRequest) -> Iterator[tuple[Any, Any]]:
    """A client and its module; no region is left registered."""
    module, port = (over_http, "Inference") if request.param == "HTTP" else (over_grpc, "gRPC inference")
    with module.InferenceServerClient(f"127.0.0.1:{server.ports[port]}") as made:
        made.unregister_system_shared_memory()
        made.unregister_cuda_shared_memory()  # as Triton's own examples begin
        yield made, module
        made.unregister_system_shared_memory()
    if module is over_http:
        made.close = lambda: None  # its __del__ closes it again, which fails in another thread


class Memory:
    """A shared memory of Triton's client, registered under its key's name."""

    def __init__(self, client: Any, size: int) -> None:
        self.name = f"torchserve_test_{uuid4().hex}"
        self.size = size
        self.handle = shm.create_shared_memory_region(self.name, f"/{self.name}", size)
        client.register_system_shared_memory(self.name, f"/{self.name}", size)

    def write(self, array: Any, offset: int = 0) -> None:
        shm.set_shared_memory_region(self.handle, [array], offset)

    def read(self, like: Any, offset: int = 0) -> Any:
        return shm.get_contents_as_numpy(self.handle, like.dtype, like.shape, offset)

    @property
    def path(self) -> Path:
        return SHM / self.name


@pytest.fixture
def memory(client: tuple[Any, Any]) -> Iterator[Callable[[int], Memory]]:
    made: list[Memory] = []

    def make(size: int) -> Memory:
        made.append(Memory(client[0], size))
        return made[-1]

    yield make
    for each in made:
        shm.destroy_shared_memory_region(each.handle)


def tensor(module: Any, name: str, array: Any, datatype: str, memory: Memory, offset: int = 0) -> Any:
    found = module.InferInput(name, array.shape, datatype)
    found.set_shared_memory(memory.name, array.nbytes, offset)
    return found


def wanted(module: Any, name: str, size: int, memory: Memory, offset: int = 0) -> Any:
    found = module.InferRequestedOutput(name)
    found.set_shared_memory(memory.name, size, offset)
    return found


def held(server: LiveServer, name: str) -> int:
    """How many descriptors of the server are open on a shared memory."""
    folder = Path(f"/proc/{server.process.pid}/fd")
    found = 0
    for each in os.listdir(folder):
        try:
            found += name in os.readlink(folder / each)
        except FileNotFoundError:
            continue
    return found


def names(client: Any) -> set[str]:
    found = client.get_system_shared_memory_status()
    return {each["name"] for each in found} if isinstance(found, list) else set(found.regions)


def test_a_request_all_in_shared_memory(server: LiveServer, client: tuple[Any, Any], memory: Any) -> None:
    made, module = client
    assert "system_shared_memory" in str(made.get_server_metadata())
    one = np.arange(16, dtype="i4").reshape(1, 16)
    two = np.ones((1, 16), "i4")
    inputs, outputs = memory(128), memory(128)
    inputs.write(one)
    inputs.write(two, 64)
    assert names(made) == {inputs.name, outputs.name}
    found = made.infer(
        "echo",
        [tensor(module, "a", one, "INT32", inputs), tensor(module, "b", two, "INT32", inputs, 64)],
        outputs=[wanted(module, "a_out", 64, outputs), wanted(module, "b_out", 64, outputs, 64)],
    )
    assert found.get_output("a_out") is not None
    assert (outputs.read(one) == one).all()
    assert (outputs.read(np.zeros((2, 16), "i4"))[1] == two).all()
    assert held(server, inputs.name) == 1
    made.unregister_system_shared_memory(inputs.name)
    assert names(made) == {outputs.name}
    assert held(server, inputs.name) == 0


def test_beside_tensors_that_are_sent(client: tuple[Any, Any], memory: Any) -> None:
    made, module = client
    region = memory(64)
    array = np.array([1.5, -2], "f4")
    region.write(array, 8)
    sent = module.InferInput("sent", (2,), "FP32")
    sent.set_data_from_numpy(array * 2)
    found = made.infer(
        "echo",
        [tensor(module, "there", array, "FP32", region, 8), sent],
        outputs=[
            module.InferRequestedOutput("there_out"),
            wanted(module, "sent_out", 8, region, 32),
        ],
    )
    assert found.as_numpy("there_out").tolist() == [1.5, -2]
    assert region.read(np.zeros(10, "f4"))[8:].tolist() == [3, -4]


def test_large_tensors_texts_and_rows(client: tuple[Any, Any], memory: Any) -> None:
    made, module = client
    image = np.random.default_rng(1).random((3, 1000, 1000), "f4")
    region = memory(2 * image.nbytes)
    region.write(image)
    made.infer(
        "echo",
        [tensor(module, "x", image, "FP32", region)],
        outputs=[wanted(module, "x_out", image.nbytes, region, image.nbytes)],
    )
    assert (region.read(np.zeros((2, *image.shape), "f4"))[1] == image).all()

    texts = serialize_byte_tensor(np.array([b"a", "\u00e9".encode(), b""], dtype=object))
    region.write(texts)
    said = module.InferInput("x", (3,), "BYTES")
    said.set_shared_memory(region.name, len(texts.item()))
    assert made.infer("echo", [said]).as_numpy("x_out").tolist() == [b"a", "\u00e9".encode(), b""]

    rows = np.array([[1, 2], [3, 4], [5, 6]], "f4")
    region.write(rows)
    made.infer(
        "rows", [tensor(module, "x", rows, "FP32", region)], outputs=[wanted(module, "y", rows.nbytes, region, 64)]
    )
    assert region.read(np.zeros(22, "f4"))[16:].tolist() == [2, 4, 6, 8, 10, 12]


def test_streams_of_grpc(server: LiveServer) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    with over_grpc.InferenceServerClient(f"127.0.0.1:{server.ports['gRPC inference']}") as made:
        region = Memory(made, 64)
        array = np.array([7], "i4")
        region.write(array)
        made.start_stream(lambda result, error: answers.put((result, error)))
        for offset in (8, 16):
            made.async_stream_infer(
                "echo",
                [tensor(over_grpc, "x", array, "INT32", region)],
                outputs=[wanted(over_grpc, "x_out", 4, region, offset)],
            )
        for _ in range(2):
            assert answers.get(timeout=60)[1] is None
        made.stop_stream()
        made.unregister_system_shared_memory(region.name)
    assert region.read(np.zeros(5, "i4")).tolist() == [7, 0, 7, 0, 7]
    shm.destroy_shared_memory_region(region.handle)


def test_a_memory_that_is_shortened_kills_nobody(server: LiveServer, client: tuple[Any, Any], memory: Any) -> None:
    made, module = client
    array = np.zeros(1 << 20, "u1")
    region = memory(2 * array.nbytes)
    small, gone = np.zeros(8, "u1"), [wanted(module, "x_out", 8, region, 8192)]
    processes = [each.pid for each in psutil.Process(server.process.pid).children(recursive=True)]
    os.truncate(region.path, 4096)
    said = [tensor(module, "x", array, "UINT8", region)]
    with pytest.raises(InferenceServerException, match=r"has lost its end: 1048576 bytes of .* it has 4096 by now"):
        made.infer("echo", said)
    with pytest.raises(InferenceServerException, match=r"Output 'x_out': shared memory region .* has lost its end"):
        made.infer("echo", [tensor(module, "x", small, "UINT8", region)], outputs=gone)
    assert made.infer("echo", [tensor(module, "x", small, "UINT8", region)]).as_numpy("x_out").tolist() == [0] * 8
    assert [each.pid for each in psutil.Process(server.process.pid).children(recursive=True)] == processes
    os.truncate(region.path, region.size)  # so that the client can destroy what it has mapped


def test_what_is_wrong_is_told(client: tuple[Any, Any], memory: Any) -> None:
    made, module = client
    region = memory(64)
    array = np.zeros(8, "u1")
    with pytest.raises(InferenceServerException, match="is registered already"):
        made.register_system_shared_memory(region.name, f"/{region.name}", 64)
    with pytest.raises(InferenceServerException, match=r"offset 60 and byte_size 8 end at 68, and .* has 64 bytes"):
        made.register_system_shared_memory("more", f"/{region.name}", 8, offset=60)
    for key in ("/nothing", "/../etc/passwd"):
        with pytest.raises(
            InferenceServerException, match=r"there is no shared memory|is no name of POSIX shared memory"
        ):
            made.register_system_shared_memory("other", key, 8)
    with pytest.raises(InferenceServerException, match="Output 'x_out' has 8 bytes, and the request gives it 7"):
        made.infer("echo", [tensor(module, "x", array, "UINT8", region)], outputs=[wanted(module, "x_out", 7, region)])
    made.unregister_system_shared_memory(region.name)
    with pytest.raises(InferenceServerException, match=r"no shared memory region .* is registered"):
        made.infer("echo", [tensor(module, "x", array, "UINT8", region)])
    with pytest.raises(InferenceServerException, match="CUDA shared memory is not supported"):
        made.register_cuda_shared_memory("c", b"aGFuZGxl", 0, 8)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_of_this_machine_has_no_part_in_it(
    server: LiveServer, memory: Any, client: tuple[Any, Any]
) -> None:
    made, _ = client
    region = memory(64)
    port = server.ports["Inference"]

    def stranger(method: str, path: str, body: Any = None) -> tuple[int, Any]:
        text = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {len(text)}\r\n\r\n"
        )
        ran = subprocess.run(
            [sys.executable, "-c", _STRANGER.format(user=1234, port=port)],
            input=head.encode() + text, capture_output=True, check=True,
        )  # fmt: skip
        status, _, rest = ran.stdout.partition(b" ")[2].partition(b" ")
        return int(status), json.loads(rest.partition(b"\r\n\r\n")[2])

    assert stranger("GET", "/v2/systemsharedmemory/status") == (200, [])
    said = {"key": region.name, "byte_size": 64}
    status, told = stranger("POST", "/v2/systemsharedmemory/region/mine/register", said)
    assert (status, "belongs to user 0, and this client is a process of user 1234" in told["error"]) == (403, True)
    parameters = {"shared_memory_region": region.name, "shared_memory_byte_size": 4}
    request = {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [4], "parameters": parameters}]}
    assert stranger("POST", "/v2/models/echo/infer", request)[0] == 400
    assert stranger("POST", "/v2/systemsharedmemory/unregister") == (200, {})
    assert names(made) == {region.name}

    own = SHM / f"{region.name}_own"
    own.write_bytes(b"own!")
    os.chown(own, 1234, 1234)
    try:
        assert stranger("POST", "/v2/systemsharedmemory/region/own/register", {"key": own.name, "byte_size": 4}) == (
            200,
            {},
        )
        (found,) = stranger("GET", "/v2/systemsharedmemory/status")[1]
        assert found["name"] == "own"
        assert names(made) == {region.name}
        assert stranger("POST", "/v2/systemsharedmemory/unregister")[0] == 200
    finally:
        own.unlink()


def test_a_unix_socket_has_it_and_workers_get_no_descriptor_of_it(serve: Any, store: Path, tmp_path: Path) -> None:
    make_model(store, "echo", ECHO)
    path = tmp_path / "s"
    running = serve("echo", properties=f"inference_address=unix:{path}\nenable_grpc=false")
    key = f"torchserve_test_{uuid4().hex}"
    (SHM / key).write_bytes(bytes(8))
    try:

        def ask(method: str, path_of: str, body: Any) -> int:
            connection = http.client.HTTPConnection("localhost")
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(str(path))
            connection.request(method, path_of, json.dumps(body))
            status = connection.getresponse().status
            connection.close()
            return status

        said = {"key": key, "byte_size": 8}
        assert ask("POST", "/v2/systemsharedmemory/region/r/register", said) == 200
        assert held(running, key) == 1
        parameters = {"shared_memory_region": "r", "shared_memory_byte_size": 4}
        request = {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [4], "parameters": parameters}]}
        eventually(lambda: ask("POST", "/v2/models/echo/infer", request) == 200)
        workers = psutil.Process(running.process.pid).children(recursive=True)
        for each in workers:
            assert not any(key in opened.path for opened in each.open_files())
    finally:
        (SHM / key).unlink()
