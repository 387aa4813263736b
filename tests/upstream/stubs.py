"""Archives that stand in for the models of TorchServe's zoo: each answers what it was told."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

HANDLER = """
import json, pathlib

class Answers:
    def initialize(self, context):
        self.told = json.loads(pathlib.Path(context.system_properties["model_dir"], "told.json").read_text())

    def handle(self, data, context):
        explain = [context.get_request_header(i, "explain") == "True" for i in range(len(data))]
        return [self.told["explain" if wanted else "predict"] for wanted in explain]
"""


def archive(store: Path, name: str, predict: Any, explain: Any, handler: str = HANDLER) -> None:
    """An archive that answers these two things."""
    manifest = {"runtime": "python", "model": {"modelName": name, "modelVersion": "1.0", "handler": "handler.py"}}
    with zipfile.ZipFile(store / f"{name}.mar", "w") as mar:
        mar.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        mar.writestr("handler.py", handler)
        mar.writestr("told.json", json.dumps({"predict": predict, "explain": explain}))
