"""TorchServe and this server under test, with the same archive, configuration and command line."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from .process import Launch, NotServingError, ServerProcess, free_ports
from .workload import Workload

_ADDRESSES: tuple[str, ...] = ("inference_address", "management_address", "metrics_address")
_GRPC: tuple[str, ...] = ("grpc_inference_port", "grpc_management_port")
JOB_QUEUE_SIZE = 1000
VARIANTS = Path(__file__).with_name("variants.py")


@dataclass(frozen=True, slots=True)
class ServerSetup:
    """The differences from a server's plain setup: further properties, token authorization, a variant of ours."""

    properties: str = ""
    tokens: bool = False
    variant: str | None = None


PLAIN = ServerSetup()


class Server(ServerProcess):
    """A process of TorchServe or of this server, which are started in the same way."""

    def __init__(self, name: str, venv: Path, workload: Workload, setup: ServerSetup = PLAIN) -> None:
        if not (venv / "bin" / "torchserve").exists():
            raise NotServingError(f"{name}: no bin/torchserve in {venv}")
        self.ports: dict[str, int] = dict(
            zip((*_ADDRESSES, *_GRPC), free_ports(len(_ADDRESSES) + len(_GRPC)), strict=True)
        )
        super().__init__(name, venv, self.ports["inference_address"], f"/predictions/{workload.name}")
        self.workload, self._setup = workload, setup
        self.management = f"http://127.0.0.1:{self.ports['management_address']}"
        self.metrics = f"http://127.0.0.1:{self.ports['metrics_address']}"

    def prepare(self) -> Launch:
        (self.folder / "store").mkdir()
        shutil.copy2(self.workload.archive, self.folder / "store")
        config = self.folder / "config.properties"
        config.write_text(properties(self.ports) + self._setup.properties)
        command = [
            *self._program(),
            "--start",
            "--foreground",
            "--ts-config",
            str(config),
            "--model-store",
            str(self.folder / "store"),
            "--ncs",
            *([] if self._setup.tokens else ["--disable-token-auth"]),
            "--enable-model-api",
            "--models",
            f"{self.workload.name}={self.workload.archive.name}",
        ]
        return Launch(command, dict.fromkeys(("LOG_LOCATION", "METRICS_LOCATION"), str(self.folder / "logs")))

    def _program(self) -> list[str]:
        if self._setup.variant is None:
            return [str(self._venv / "bin" / "torchserve")]
        return [str(self._venv / "bin" / "python"), "-P", str(VARIANTS), self._setup.variant]

    def key(self, kind: str = "inference") -> str:
        """Return the key of this kind from the server's key file, "" if token authorization is off."""
        file = self.folder / "key_file.json"
        return json.loads(file.read_text())[kind]["key"] if self._setup.tokens else ""


def settings() -> list[str]:
    """Return the properties of either server beside its addresses: room for each connection's request, one worker."""
    return [f"job_queue_size={JOB_QUEUE_SIZE}", "default_workers_per_model=1"]


def properties(ports: dict[str, int]) -> str:
    """Return config.properties for either server: loopback, these ports, and `settings`."""
    lines = [f"{name}=http://127.0.0.1:{ports[name]}" for name in _ADDRESSES]
    lines += [f"{name}={ports[name]}" for name in _GRPC]
    return "\n".join([*lines, *settings(), ""])
