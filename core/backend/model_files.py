"""Reads what an unpacked archive says of itself: its manifest, and the YAML that this names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_manifest(model_dir: str) -> dict[str, Any]:
    """Return the manifest of an unpacked model, {"model": {}} if it has none."""
    path = Path(model_dir, "MAR-INF", "MANIFEST.json")
    return json.loads(path.read_bytes()) if path.exists() else {"model": {}}


def read_yaml_config(model_dir: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a manifest's configFile, {} if it names none."""
    name = manifest.get("model", {}).get("configFile")
    if not name:
        return {}
    from ..handlers.yaml_config import get_yaml_config

    return get_yaml_config(str(Path(model_dir, name)))
