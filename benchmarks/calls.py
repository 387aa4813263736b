"""The calls of benchmarks.grpc: what is sent to which server by which protocol, and what the right answer is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
from torchserve.cli.bench_protocol import Spoken, speak
from torchserve.cli.infer_messages import TensorForm, infer_message
from torchserve.cli.loadgen.checks import Check, Expected, echo, same
from torchserve.cli.loadgen.payload import Payload
from torchserve.cli.loadgen.scenario import Closed, Scenario
from torchserve.core.config.address import Address
from torchserve.core.oip.infer_request import InferRequest, Tensor

from .check import WrongAnswerError, post
from .process import Launch, ServerProcess, free_ports
from .rival import KINDS, handed
from .servers import Server
from .workload import Workload

BODY = bytes(range(250)) * 4  # 1 kB
_BYTES = TensorForm("IN", "UINT8", (1, len(BODY)))
_IMAGE = TensorForm("image", "FP32", (1, 3, 224, 224))
_REGION = "benchmark_image"
_STREAMED = b"".join(b"piece %d " % number for number in range(7)) + b"end"


@dataclass(frozen=True, slots=True)
class Call:
    """A way of asking a server: its name in the table, where to, what is sent, and the check of the answers."""

    server: str
    protocol: str
    address: Address
    spoken: Spoken
    check: Check

    def scenario(self, flight: int, channels: int, seconds: float) -> Scenario:
        """Return a closed loop of `flight` calls at a time, all of which count."""
        spoken = self.spoken
        return Scenario(
            self.address, spoken.target, spoken.payloads, Closed(flight), seconds, check=self.check, most_warmup=0,
            rpc=spoken.rpc, channels=channels, unwrap=spoken.unwrap, streams=spoken.streams,
        )  # fmt: skip


class TritonByRpc(ServerProcess):
    """A Triton with its gRPC port, and the handler of `calls` behind two models: of bytes, and of an image."""

    ping = "/v2/health/ready"

    def __init__(self, venv: Path, workload: Workload, handlers: Path) -> None:
        self.port, self.rpc_port = free_ports(2)
        super().__init__("triton", venv, self.port, "")
        self._workload, self._handlers = workload, handlers

    def prepare(self) -> Launch:
        launch = KINDS["triton"].launch(self._venv, self.port, self.folder, self._workload)
        told = handed(self._workload, self._handlers, self.folder / "model")
        models = self.folder / "models"
        shutil.copytree(models / "calls", models / "images")
        for name, given, made in (
            ("calls", '"IN", data_type: TYPE_UINT8, dims: [1000]', '"OUT", data_type: TYPE_UINT8, dims: [1000]'),
            (
                "images",
                '"image", data_type: TYPE_FP32, dims: [3, 224, 224]',
                '"means", data_type: TYPE_FP32, dims: [3]',
            ),
        ):
            (models / name / "config.pbtxt").write_text(_config(name, given, made, self._workload))
            (models / name / "1" / "triton_model.py").unlink()
            shutil.copy2(Path(__file__).with_name("rivals") / "triton_calls.py", models / name / "1")
        command = [each for each in launch.command if not each.startswith("--allow-grpc")]
        command += ["--grpc-address", "127.0.0.1", "--grpc-port", str(self.rpc_port)]
        return Launch(command, {**told, **launch.environment})


def _config(name: str, given: str, made: str, workload: Workload) -> str:
    return (
        f'name: "{name}" backend: "python" default_model_filename: "triton_calls.py" max_batch_size: {workload.batch}\n'
        f"input [{{ name: {given} }}] output [{{ name: {made} }}]\n"
        f"dynamic_batching {{ max_queue_delay_microseconds: {workload.delay_ms * 1000} }}\n"
        "instance_group [{ count: 1, kind: KIND_CPU }]\n"
    )


def _addresses(server: ServerProcess) -> tuple[Address, Address]:
    """Return the server's REST address and its gRPC address."""
    if isinstance(server, TritonByRpc):
        ports = server.port, server.rpc_port
    else:
        assert isinstance(server, Server)
        ports = server.ports["inference_address"], server.ports["grpc_inference_port"]
    return Address("127.0.0.1", ports[0]), Address("127.0.0.1", ports[1])


def ends_with_body(_place: int, body: bytes, answer: bytes) -> bool:
    """Return whether the last bytes of an answer are the request's: its only raw output is what was sent."""
    return answer.endswith(body)


def echoes(server: ServerProcess) -> list[Call]:
    """Return the calls that send 1 kB and get it back: the protocols that the server has of TorchServe's and OIP's."""
    _, rpc = _addresses(server)
    payloads = (Payload("1 kB", BODY),)
    torchserve = Call(server.name, "Predictions", rpc, speak("grpc", "calls", None, payloads, None), echo)
    oip = Call(server.name, "ModelInfer", rpc, speak("oip-grpc", "calls", None, payloads, _BYTES), ends_with_body)
    return {"torchserve": [torchserve], "triton": [oip]}.get(server.name, [torchserve, oip])


def images(server: ServerProcess) -> list[Call]:
    """Return the calls that send an image of 602 KiB, and get the means of its channels."""
    rest, rpc = _addresses(server)
    model = "images" if isinstance(server, TritonByRpc) else "calls"
    image = an_image()
    payloads = (Payload("602 KiB", image.tobytes()),)
    raw = speak("oip-grpc", model, None, payloads, _IMAGE)
    binary = speak("oip-rest-binary", model, None, payloads, _IMAGE)
    return [
        Call(server.name, "gRPC raw", rpc, raw, Means(means_of(image), raw.read)),
        Call(server.name, "REST binary", rest, binary, Means(means_of(image), binary.read)),
    ]


def an_image() -> Any:
    """Return an image as a model takes it, the same for each call."""
    return np.random.default_rng(7).random((1, 3, 224, 224), np.float32)


def means_of(image: Any) -> list[float]:
    """Return the means of an image's channels."""
    return [float(each) for each in image.mean(axis=(2, 3)).ravel()]


class Means:
    """A check of an answer's only tensor against these means. Answers that came before are known by their bytes."""

    def __init__(self, expected: list[float], read: Callable[[bytes], Any]) -> None:
        self._expected = json.dumps(expected).encode()
        self._read = read
        self._right: set[bytes] = set()

    def __call__(self, _place: int, _body: bytes, answer: bytes) -> bool:
        if answer in self._right:
            return True
        try:
            found = json.dumps(self._read(answer)["outputs"][0]["data"]).encode()
        except (ValueError, LookupError):
            return False
        right = same(found, self._expected)
        if right and len(self._right) < 1000:
            self._right.add(answer)
        return right


@contextmanager
def shared_images(server: ServerProcess) -> Iterator[Call]:
    """Return the call whose image lies in shared memory, by gRPC. Raises WrongAnswerError if the server has none."""
    call, *_ = images(server)
    image = an_image().tobytes()
    memory = SharedMemory(create=True, size=len(image))
    try:
        assert memory.buf is not None
        memory.buf[: len(image)] = image
        told = json.dumps({"key": f"/{memory.name}", "offset": 0, "byte_size": len(image)}).encode()
        url = f"{server.url}/v2/systemsharedmemory/region/{_REGION}"
        status, answer = post(f"{url}/register", told, "application/json")
        if status != 200:
            raise WrongAnswerError(f"{server.name} takes no shared memory: {status} {answer[:200]!r}")
        model = "images" if isinstance(server, TritonByRpc) else "calls"
        payload = replace(call.spoken.payloads[0], wire=_shared_message(model, len(image)))
        yield replace(call, protocol="shared memory", spoken=replace(call.spoken, payloads=(payload,)))
        post(f"{url}/unregister", b"{}", "application/json")
    finally:
        memory.close()
        memory.unlink()


def _shared_message(model: str, size: int) -> bytes:
    from torchserve.http.rpc.protos.messages import message

    where: dict[str, bool | int | float | str] = {"shared_memory_region": _REGION, "shared_memory_byte_size": size}
    tensor = Tensor(_IMAGE.name, _IMAGE.datatype, _IMAGE.shape, b"", parameters=where)
    made = message("inference.ModelInferRequest").FromString(infer_message(model, None, InferRequest((tensor,))))
    del made.raw_input_contents[:]
    return made.SerializeToString()


def streams(server: ServerProcess) -> list[Call]:
    """Return the calls of the streaming handler, by gRPC and by REST."""
    rest, rpc = _addresses(server)
    payloads = (Payload("stream", b"stream"),)
    expected = Expected([_STREAMED])
    by_rpc = speak("grpc-stream", "calls", None, payloads, None)
    return [
        Call(server.name, "StreamPredictions", rpc, by_rpc, expected),
        Call(server.name, "REST, chunked", rest, Spoken("/predictions/calls", payloads), expected),
    ]
