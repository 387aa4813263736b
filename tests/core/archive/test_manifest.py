"""Manifest: known keys, old keys, unknown keys, and every way in which the file can be wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.archive.manifest import MANIFEST_PATH, Manifest
from torchserve.core.errors import InvalidArchive

FULL = {
    "createdOn": "30/09/2024 10:11:12",
    "runtime": "python3",
    "model": {
        "modelName": "mnist",
        "serializedFile": "w.pt",
        "handler": "h.py",
        "modelFile": "m.py",
        "modelVersion": "2.1",
        "requirementsFile": "requirements.txt",
        "configFile": "model-config.yaml",
    },
    "archiverVersion": "0.12.0",
}


def test_every_key_is_read_and_written_back_in_the_archivers_order():
    manifest = Manifest.parse(json.dumps(FULL).encode())
    assert manifest == Manifest(
        model_name="mnist",
        model_version="2.1",
        handler="h.py",
        serialized_file="w.pt",
        model_file="m.py",
        requirements_file="requirements.txt",
        config_file="model-config.yaml",
        runtime="python3",
        archiver_version="0.12.0",
        created_on="30/09/2024 10:11:12",
    )
    assert manifest.to_json() == json.dumps(FULL, indent=2).encode()


def test_unknown_keys_survive_and_a_change_shows():
    document = {"engine": "x", "model": {"handler": "a", "extensions": {"e": 1}}, "publisher": {"author": "b"}}
    manifest = replace(Manifest.from_dict(document), handler="b")
    assert manifest.to_dict() == {
        "runtime": "python",
        "model": {"handler": "b", "modelVersion": "1.0", "extensions": {"e": 1}},
        "engine": "x",
        "publisher": {"author": "b"},
    }


@pytest.mark.parametrize("key", ["modelServerVersion", "implementationVersion", "specificationVersion"])
def test_old_archiver_keys(key: str):
    assert Manifest.from_dict({key: "1.0", "model": None}).archiver_version == "1.0"


def test_numbers_are_taken_as_text_and_empty_text_as_absent():
    manifest = Manifest.from_dict({"runtime": "", "model": {"modelVersion": 1.5, "modelName": 7, "handler": ""}})
    assert (manifest.model_version, manifest.model_name, manifest.handler) == ("1.5", "7", None)
    assert manifest.runtime == "python"


def test_no_manifest_is_the_default_one(tmp_path: Path):
    assert Manifest.read(tmp_path) == Manifest()
    assert (Manifest().model_name, Manifest().model_version, Manifest().runtime) == (None, "1.0", "python")


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe\xfa", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b"null", "is not a JSON object"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"model": []}', "model is a list, not an object"),
        (b'{"model": {"handler": {}}}', "handler is an object, not text"),
        (b'{"model": {"modelName": ["a"]}}', "modelName is a list, not text"),
        (b'{"model": {"modelVersion": true}}', "modelVersion is true or false, not text"),
        (b'{"model": {"modelName": "a\\nb"}}', "modelName holds a control character"),
        (b'{"runtime": "ruby"}', "runtime 'ruby' is none of python, python3, LSP"),
    ],
)
def test_a_bad_manifest_names_its_cause(data: bytes, cause: str):
    with pytest.raises(InvalidArchive, match=cause):
        Manifest.parse(data)


def test_a_huge_manifest_is_not_read(tmp_path: Path):
    path = tmp_path / MANIFEST_PATH
    path.parent.mkdir()
    path.write_text(json.dumps({"createdOn": "x" * 100}))
    with pytest.raises(InvalidArchive, match="larger than 99 bytes"):
        Manifest.read(tmp_path, 99)


@given(st.binary(max_size=200) | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_any_input_parses_or_is_an_invalid_archive(value: object):
    data = value if isinstance(value, bytes) else json.dumps({"model": {"handler": value}, "runtime": value}).encode()
    try:
        manifest = Manifest.parse(data)
    except InvalidArchive:
        return
    assert Manifest.from_dict(manifest.to_dict()) == manifest
