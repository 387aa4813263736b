"""Snapshot: the configuration and the models of a server as the text of a TorchServe snapshot, a `.cfg`, and back.

Pure: times are arguments, in milliseconds since the epoch.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import javaproperties

from ..config.saved_models import SavedModels, as_json
from ..version import __version__

Kind = Literal["startup", "snapshot", "shutdown"]

KEY = "model_snapshot"
NAME = re.compile(r"\d{17}-(startup|snapshot|shutdown)\.cfg", re.ASCII)
# The keys that a snapshot does not copy from the file that the server was started with.
_OWN = frozenset({KEY, "version"})
_CREATED = re.compile(rb'"created"\\?\s*:\s*(\d{1,18})\b', re.ASCII)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The configuration and the models of a server. `properties` are keys and texts as in a config.properties."""

    properties: Mapping[str, str]
    models: SavedModels

    def text(self, name: str, created: int) -> str:
        """Return the file's text. The models come last, so that a file that was cut anywhere has no valid ones."""
        document = {"name": name, "modelCount": len(self.models), "created": created, "models": as_json(self.models)}
        kept = {key: text for key, text in self.properties.items() if key not in _OWN}
        rows = kept | {"version": __version__, KEY: json.dumps(document, indent=2)}
        return javaproperties.dumps(rows, comments="Saving snapshot", timestamp=created / 1000.0, ensure_ascii=True)


def name_of(kind: Kind, created: int) -> str:
    """Return `yyyyMMddHHmmssSSS-kind.cfg`, in local time."""
    seconds, rest = divmod(created, 1000)
    return f"{time.strftime('%Y%m%d%H%M%S', time.localtime(seconds))}{rest:03d}-{kind}.cfg"


def created_at(data: bytes) -> int | None:
    """Return when a snapshot was taken, read from its bytes; None if they don't tell."""
    found = _CREATED.search(data)
    return int(found[1]) if found else None


def is_whole(data: bytes) -> bool:
    """Return whether a snapshot is complete: its last line is, and its models can be read."""
    if not data.endswith(b"\n"):
        return False
    try:
        SavedModels.parse(javaproperties.loads(data)[KEY])
    except (ValueError, KeyError):  # broken escapes, bytes or JSON, or there are no models
        return False
    return True
