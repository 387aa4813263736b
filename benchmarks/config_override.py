"""The options in an archive's model-config.yaml, and others in a copy, to measure one model under several of them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_MANIFEST = "MAR-INF/MANIFEST.json"


def read_config(archive: Path) -> dict[str, Any]:
    """What the archive asks for; nothing if it has no yaml."""
    with zipfile.ZipFile(archive) as file:
        named = json.loads(file.read(_MANIFEST))["model"].get("configFile")
        return (yaml.safe_load(file.read(named)) or {}) if named else {}


def override_config(archive: Path, into: Path, options: Mapping[str, object]) -> Path:
    """A copy of the .mar file, of the same name, in the folder `into`, which is made. ValueError if it has no yaml."""
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
