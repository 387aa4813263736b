"""Reads and overrides the options in an archive's model-config.yaml, to measure one model with different options."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_MANIFEST = "MAR-INF/MANIFEST.json"


def read_config(archive: Path) -> dict[str, Any]:
    """Return the options of the archive's yaml, {} if it has none."""
    with zipfile.ZipFile(archive) as file:
        named = json.loads(file.read(_MANIFEST))["model"].get("configFile")
        return (yaml.safe_load(file.read(named)) or {}) if named else {}


def override_config(archive: Path, into: Path, options: Mapping[str, object]) -> Path:
    """Write a copy of the .mar file with other options to the folder `into`. Raises ValueError if the archive has no
    yaml.
    """
    into.mkdir(parents=True, exist_ok=True)
    made = into / archive.name
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(made, "w") as target:
        named = json.loads(source.read(_MANIFEST))["model"].get("configFile")
        if named is None:
            raise ValueError(f"{archive.name} has no model-config.yaml")
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename == named:
                data = yaml.safe_dump({**(yaml.safe_load(data) or {}), **options}).encode()
            target.writestr(entry, data)
    return made
