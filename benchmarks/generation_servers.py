"""The servers of `benchmarks.language_models`, each a process with the same weights: ours, and its rivals."""

from __future__ import annotations

import importlib.metadata
import json
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from .generation_runs import Run, streamed
from .oracle import make_environment
from .process import Launch, NotServingError, ServerProcess, free_ports

_ADDRESSES = ("inference_address", "management_address", "metrics_address")
_LOADING = 300.0  # seconds
_HANDLER = Path(__file__).with_name("rivals") / "streamer_handler.py"
_PAGE = 256  # tokens of a page of transformers' KV memory
_BATCH, _DELAY_MS = 16, 20  # of TorchServe, whose requests of a batch begin and end together


class LlmServer(ServerProcess):
    """A server started by `torchserve llm` with a folder."""

    def __init__(self, folder: Path, venv: Path) -> None:
        self._ports = free_ports(5)
        self._model = folder
        super().__init__("llm", venv, self._ports[0], "/v1")
        self.ping = f"/v1/models/{folder.name}"

    def prepare(self) -> Launch:
        config = self.folder / "config.properties"
        config.write_text(_properties(self._ports))
        command = [str(self._venv / "bin" / "torchserve"), "llm", str(self._model), "--ts-config", str(config)]
        return Launch(command, dict.fromkeys(("LOG_LOCATION", "METRICS_LOCATION"), str(self.folder / "logs")))

    def ready(self) -> None:
        """Wait until the model is loaded. Raises NotServingError."""
        deadline = time.monotonic() + _LOADING
        while time.monotonic() < deadline:
            try:
                with urlopen(self.url + self.ping, timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (URLError, OSError):
                pass
            if self._process is None or self._process.poll() is not None:
                break
            time.sleep(0.2)
        raise NotServingError(f"{self._model.name} is not served: {self.tail()}")

    def front_seconds(self) -> float:
        """Return the processor time of all threads of the front so far."""
        tasks = Path(f"/proc/{self.front().pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


class TransformersServe(ServerProcess):
    """A server started by `transformers serve`, with its continuous batching."""

    ping = "/health"

    def __init__(self, folder: Path, venv: Path) -> None:
        self.model = str(folder)
        super().__init__("transformers-serve", venv, free_ports(1)[0], "/v1")

    def prepare(self) -> Launch:
        # transformers is another environment's package, so that this one has no command of that name.
        run = "from transformers.cli.transformers import main; main()"
        command = [str(self._venv / "bin" / "python"), "-c", run, "serve", self.model, "--continuous-batching"]
        command += ["--dtype", "float32", "--device", "cpu", "--host", "127.0.0.1", "--port", str(self.port)]
        # As much KV memory and as large steps as ours: what it takes of a CPU's memory by itself slows each step down.
        command += ["--cb-num-blocks", str(16384 // _PAGE), "--cb-max-batch-tokens", "512"]
        return Launch(command, {"HF_HUB_OFFLINE": "1", "HF_HOME": str(self.folder / "tmp")})

    def ready(self) -> None:
        """Wait until it answers; the model is loaded by then. Raises NotServingError."""
        self.wait_for_ping(_LOADING)


class StreamerServer(ServerProcess):
    """A TorchServe 0.12 with `rivals/streamer_handler.py`."""

    def __init__(self, folder: Path, venv: Path) -> None:
        self._ports = free_ports(5)
        self._model = folder
        super().__init__("torchserve-streamer", venv, self._ports[0], "/predictions/streamer")

    def prepare(self) -> Launch:
        store, config = self.folder / "store", self.folder / "config.properties"
        store.mkdir()
        with zipfile.ZipFile(store / "streamer.mar", "w") as archive:
            archive.write(_HANDLER, "handler.py")
            archive.writestr("MAR-INF/MANIFEST.json", json.dumps(_MANIFEST))
            archive.writestr("model-config.yaml", _YAML.format(path=self._model))
        config.write_text(_properties(self._ports))
        command = [str(self._venv / "bin" / "torchserve"), "--start", "--foreground", "--ncs", "--disable-token-auth"]
        command += ["--ts-config", str(config), "--model-store", str(store), "--models", "streamer.mar"]
        return Launch(command, dict.fromkeys(("LOG_LOCATION", "METRICS_LOCATION"), str(self.folder / "logs")))

    def ready(self) -> None:
        """Wait until the model is loaded. Raises NotServingError."""
        self.wait_for_ping(_LOADING)
        streamed(self.predictions, ["a"], [1])

    def run(self, prompts: Sequence[str], tokens: Sequence[int]) -> Run:
        """Generate so many tokens behind each prompt, all at once."""
        return streamed(self.predictions, prompts, tokens)


def transformers_environment() -> Path:
    """Return an environment of `transformers serve`, with this one's torch and transformers. Raises NoOracleError."""
    version = importlib.metadata.version("transformers")
    return make_environment(f"transformers-serving-{version}", [f"transformers[serving]=={version}"], sees_ours=True)


def _properties(ports: Sequence[int]) -> str:
    lines = [f"{name}=http://127.0.0.1:{port}" for name, port in zip(_ADDRESSES, ports, strict=False)]
    lines += [f"grpc_inference_port={ports[3]}", f"grpc_management_port={ports[4]}"]
    return "\n".join([*lines, ""])


_MANIFEST = {
    "runtime": "python",
    "archiverVersion": "0.12.0",
    "model": {
        "modelName": "streamer",
        "modelVersion": "1.0",
        "handler": "handler.py",
        "configFile": "model-config.yaml",
    },
}
_YAML = f"""minWorkers: 1
maxWorkers: 1
batchSize: {_BATCH}
maxBatchDelay: {_DELAY_MS}
responseTimeout: 600
handler:
  model_path: "{{path}}"
"""
