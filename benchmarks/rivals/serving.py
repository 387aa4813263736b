"""What all rivals serve: the archive's own handler, with the batching options of its archive."""

from __future__ import annotations

import importlib
import json
import os
import site
import sys
from pathlib import Path
from typing import Any

BATCH = int(os.environ["RIVAL_BATCH"])
MILLISECONDS = int(os.environ["RIVAL_DELAY_MS"])


class Handler:
    """The handler of the unpacked archive $RIVAL_MODEL, initialized. torch and `ts` come from $RIVAL_PACKAGES.

    This server calls `settle` on its own handlers after they are loaded; TorchServe's handlers have no such method.
    """

    def __init__(self) -> None:
        site.addsitedir(os.environ["RIVAL_PACKAGES"])
        folder = Path(os.environ["RIVAL_MODEL"])
        sys.path.insert(0, str(folder))
        context = importlib.import_module("ts.context")
        manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())
        self._context = context.Context(
            folder.name,
            str(folder),
            manifest,
            BATCH,
            None,
            "0.12.0",
            metrics=_Uncounted(),
            model_yaml_config=_yaml(folder),
        )
        self._processor = context.RequestProcessor
        self._handler = _class(folder, manifest["model"]["handler"])()
        self._handler.initialize(self._context)
        if hasattr(self._handler, "settle"):
            self._handler.settle(self._context)

    def answers(self, bodies: list[bytes]) -> list[bytes | bytearray]:
        """Return the answers to one batch."""
        results = self.outputs([{"body": body} for body in bodies])
        return [result if isinstance(result, bytes | bytearray) else json.dumps(result).encode() for result in results]

    def outputs(self, rows: list[dict[str, Any]]) -> list[Any]:
        """Return what the handler returns for one batch of these rows."""
        self._context.request_ids = {index: str(index) for index in range(len(rows))}
        self._context.request_processor = [self._processor({}) for _ in rows]
        return self._handler.handle(rows, self._context)


class _Uncounted:
    """A collector of metrics that keeps none."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_given, **_named: None


def _yaml(folder: Path) -> dict[str, Any]:
    file = folder / "model-config.yaml"
    return importlib.import_module("yaml").safe_load(file.read_text()) if file.exists() else {}


def _class(folder: Path, handler: str) -> Any:
    """Return the only class defined in a file of the archive, or the built-in handler of that name."""
    name = handler.removesuffix(".py")
    own = (folder / f"{name}.py").exists()
    module = importlib.import_module(name if own else f"ts.torch_handler.{name}")
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    if own:
        (kind,) = (each for each in classes if each.__module__ == name)
        return kind
    return next(each for each in classes if each.__name__.lower() == name.replace("_", ""))
