"""reworded: an archive with other options in its model-config.yaml, to measure one model under several of them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import yaml

_MANIFEST = "MAR-INF/MANIFEST.json"


def reworded(archive: Path, into: Path, options: Mapping[str, object]) -> Path:
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
