"""model-config.yaml: what a model's author writes, and what an attacker writes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.archive.limits import Limits
from torchserve.core.archive.model_yaml import parse_mapping
from torchserve.core.errors import InvalidArchive

LAUGHS = b"a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 10)
)
MERGES = b"m0: &m0 {a: 1, b: 2}\n" + b"".join(
    b"m%d: &m%d {<<: [%s]}\n" % (n, n, b",".join([b"*m%d" % (n - 1)] * 9)) for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", {}),
        (b"minWorkers: 1\nhandler:\n  profile: true\n", {"minWorkers": 1, "handler": {"profile": True}}),
        (b"deviceIds: [0, 1]\n", {"deviceIds": [0, 1]}),
        (b"base: &b {x: 1}\nuse:\n  <<: *b\n  y: 2\n", {"base": {"x": 1}, "use": {"x": 1, "y": 2}}),
        (b"prompt: '" + b"p" * 50_000 + b"'\n", {"prompt": "p" * 50_000}),
    ],
)
def test_ordinary_files(data: bytes, expected: dict[str, object]):
    assert parse_mapping(data) == expected


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"a: !!python/object/apply:os.system ['touch pwned']\n", "python/object/apply"),
        (b"a: !!python/name:os.system\n", "python/name"),
        (b"!!python/object/new:os._wrap_close {}\n", "python/object/new"),
        (b"a: !!javax.script.ScriptEngineManager []\n", "javax"),
        (LAUGHS, "with its aliases expanded"),
        (MERGES, "with its aliases expanded"),
        (b"a: &a [*a]\n", "undefined or holds itself"),
        (b"a: *nobody\n", "undefined or holds itself"),
        (b"a: " + b"[" * 60 + b"]" * 60, "nested more than 50 deep"),
        (b"[" * (1 << 20), "nest"),
        (b"a: " + b"1:" * 100_000 + b"1", "longer than 16384 characters"),
        (b'a: !!int "' + b"1:" * 500_000 + b'1"', "a number of 1000001 characters"),
        (b'a: !!float "' + b"1:" * 60_000 + b'1."', "a number of 120002 characters"),
        (b"".join(b"%d: \n" % (n * (2**61 - 1)) for n in range(1, 40_000)), "an integer of more than 64 bits"),
        (b"a: " + b"b" * (1 << 20), "larger than 1048576 bytes"),
        (b"- 1\n- 2\n", "a list, not a mapping"),
        (b"just text", "a str, not a mapping"),
        (b"a: 1\n---\nb: 2\n", "single document"),
        (b"a: [1\n", "not usable YAML"),
        (b"a: !!int ''\n", "not usable YAML"),
        (b"a: !!bool perhaps\n", "not usable YAML"),
        (b"a: !!timestamp never\n", "not usable YAML"),
        (b"a: 2024-99-99\n", "not usable YAML"),
        (b"{[1]: 2}\n", "not usable YAML"),
        (b"a: " + b"9" * 5000, "a number of 5000 characters"),
        (b"a: \x00\n", "not usable YAML"),
        (b"\xff\xff", "not usable YAML"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value[:20],
)
def test_hostile_files_are_refused_at_once(data: bytes, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArchive, match=cause) as caught:  # what is read on instead takes years
        parse_mapping(data)
    assert "\n" not in caught.value.message
    assert os.listdir(tmp_path) == []


def test_aliases_count_as_what_they_stand_for():
    data = b"a: &a abcdefghij\nb: [" + b"*a," * 10 + b"]\n"
    assert parse_mapping(data, Limits(yaml_expanded=200))["b"] == ["abcdefghij"] * 10
    with pytest.raises(InvalidArchive, match="larger than 100 characters with its aliases"):
        parse_mapping(data, Limits(yaml_expanded=100))


@given(st.binary(max_size=100) | st.text("ab:-[]{}&*!<|>'\"#%@ \n1", max_size=60).map(str.encode))
def test_any_bytes_give_a_mapping_or_invalid_archive(data: bytes):
    with contextlib.suppress(InvalidArchive):
        assert isinstance(parse_mapping(data), dict)
