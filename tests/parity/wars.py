"""The workflows of the comparison, packed byte by byte the same for both servers."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

# Functions and a model in one: each says who it is and what it got.
FUNCTIONS = """
def texts(row):
    return {name: bytes(value).decode() if isinstance(value, (bytes, bytearray)) else value for name, value in row.items()}

def pre(data, context):
    return data and [("pre(" + str(texts(row).get("body")) + ")").encode() for row in data]

def fails(data, context):
    if data:
        raise ValueError("no")

def told(data, context):
    return data and [{name: texts(row)[name] for name in sorted(row)} for row in data]

def left(data, context):
    return data and [{"left": texts(row)["body"]} for row in data]

def right(data, context):
    return data and [{"right": texts(row)["body"]} for row in data]

def got(data, context):
    return data and [{name: [type(value).__name__, bytes(value).hex() if isinstance(value, (bytes, bytearray)) else value]
                      for name, value in sorted(row.items())} for row in data]
"""

_DIAMOND = """
models:
  batch-size: 4
  max-batch-delay: 20
  m1: {url: said.mar}
  m2: {url: said.mar, batch-size: 2}
dag:
  pre: [m1, m2]
  m1: [told]
  m2: [told]
"""

WARS: dict[str, str] = {
    "diamond.war": _DIAMOND,
    "leaves.war": "models: {m1: {url: said.mar}}\ndag: {m1: [left, right]}\n",
    "one.war": "models: {m1: {url: said.mar}}\ndag: {m1: []}\n",
    "failing.war": "models: {m1: {url: said.mar}}\ndag: {m1: [fails]}\n",
    "cycle.war": "models: {m1: {url: said.mar}}\ndag: {pre: [m1], m1: [told], told: [m1]}\n",
    "self.war": "models: {m1: {url: said.mar}}\ndag: {m1: [m1]}\n",
    "starts.war": "models: {m1: {url: said.mar}, m2: {url: said.mar}}\ndag: {m1: [told], m2: [told]}\n",
    "absent.war": "models: {m1: {url: nowhere.mar}}\ndag: {m1: []}\n",
    "dagless.war": "models: {m1: {url: said.mar}}\n",
    "torn.war": ": : :\n",
    "leaf.war": "models: {m: {url: probe.mar}}\ndag: {m: []}\n",
    "pair.war": "models: {timeout-ms: 1000, retry-attempts: 1, m: {url: probe.mar}}\ndag: {m: [got]}\n",
    "lacking.war": "models: {m1: {url: said.mar}}\ndag: {m1: [nowhere]}\n",
    "broken.war": "models: {m1: {url: said.mar}, m2: {url: broken.mar}}\ndag: {m1: [m2]}\n",
    "odd.war": "models: {m1: {url: said.mar, colour: red}}\ndag: {m1: []}\n",
    "numbers.war": "models: {min-workers: many, m1: {url: said.mar}}\ndag: {m1: []}\n",
}


def pack(name: str, store: Path) -> None:
    """Put a workflow into a store."""
    workflow = {"workflowName": name.removesuffix(".war"), "specFile": "spec.yaml", "handler": "functions.py"}
    manifest = {"createdOn": "01/01/2026 00:00:00", "workflow": workflow, "archiverVersion": "0.2.15"}
    files = {"WAR-INF/MANIFEST.json": json.dumps(manifest), "spec.yaml": WARS[name], "functions.py": FUNCTIONS}
    with zipfile.ZipFile(store / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), text)
