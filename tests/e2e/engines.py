"""Archives of models that the small engine (standins/small_engine.py) serves, its journal, and its processes."""

from __future__ import annotations

import http.client
import json
import socket
import sys
from pathlib import Path
from typing import Any

import psutil
import yaml

from .live import eventually, gone

ENGINE = Path(__file__).parents[1] / "standins" / "small_engine.py"
TEXT = "the cat sat on the mat and the dog sat on the cat while a bird sang to the sun over the sea"


class SmallModel:
    """The archive of one model, in a store, with `arguments` for its engine. `config` are further keys of its yaml."""

    def __init__(
        self, store: Path, name: str, *arguments: str, handler: str = "vllm_handler", config: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:  # fmt: skip
        self.name = name
        self.folder = folder = store / name
        self.journal = store.parent / f"{name}.journal"
        (folder / "MAR-INF").mkdir(parents=True)
        (folder / "words.txt").write_text(TEXT)
        said = {
            "minWorkers": 1, "maxWorkers": 1, **(config or {}),
            "handler": {
                "model_path": "words.txt", "command": [sys.executable, str(ENGINE), "serve"],
                "arguments": ["--journal", str(self.journal), *arguments], "metrics_interval": 0.1, **options,
            },
        }  # fmt: skip
        model = {"modelName": name, "modelVersion": "1.0", "handler": handler, "configFile": "model-config.yaml"}
        (folder / "model-config.yaml").write_text(yaml.safe_dump(said))
        (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps({"runtime": "python", "model": model}))

    def events(self) -> list[dict[str, Any]]:
        if not self.journal.exists():
            return []
        return [json.loads(line) for line in self.journal.read_text().splitlines()]

    def noted(self, key: str, count: int = 1) -> list[dict[str, Any]]:
        """The events with a key, once there are so many."""
        return eventually(
            lambda: found if len(found := [each for each in self.events() if key in each]) >= count else []
        )

    def processes(self) -> list[int]:
        """The pids of all engines that have started, and of what they have started."""
        started = [event for event in self.events() if "started" in event]
        children = [event["child"] for event in self.events() if "child" in event]
        return [pid for event in started for pid in (event["pid"], *event["children"])] + children

    def all_gone(self) -> None:
        """Wait until none of them is left, nor a guard."""
        eventually(lambda: all(gone(pid) for pid in self.processes()) and not guards(self.folder))

    def step(self) -> dict[str, Any]:
        """Have the engine of the last start, with `--steps manual`, take one step."""
        connection = http.client.HTTPConnection("engine")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self.noted("started")[-1]["uds"])
        try:
            connection.request("POST", "/step")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


def guards(folder: Path) -> list[int]:
    """The pids of guards of engines whose command names a model in `folder`."""
    found: list[int] = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            status = process.status()
        except psutil.Error:
            continue
        if (
            status != psutil.STATUS_ZOMBIE
            and any("engine_guard" in word for word in words)
            and str(folder) in " ".join(words)
        ):
            found.append(process.pid)
    return found
