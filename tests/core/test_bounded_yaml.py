"""YAML with bounds: what PyYAML reads, or a refusal; wherever the server reads YAML."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.archive.model_yaml import parse_mapping
from torchserve.core.bounded_yaml import YAML_ERRORS, YamlRefused, load_yaml
from torchserve.core.errors import ServeError
from torchserve.core.handlers.yaml_config import get_yaml_config
from torchserve.core.logs.config import read_log_config
from torchserve.core.metrics.spec import read_spec

BASE_60 = b'a: !!int "' + b"1:" * 100 + b'1"\n'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"1:30:00", 5400),
        (b"-1:30", -90),
        (b"1:30.5", 90.5),
        (b"0x7fffffffffffffff", 2**63 - 1),
        (b"0b" + b"1" * 64, 2**64 - 1),
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"1_000", 1000),
        (b"0o17", "0o17"),
        (b"017", 15),
        (b".inf", float("inf")),
        (b"3." + b"1" * 300, float("3." + "1" * 300)),
        (b"2024-05-06", None),
    ],
)
def test_numbers_as_pyyaml_reads_them(text: bytes, value: object):
    assert load_yaml(text) == yaml.load(text, Loader=yaml.CSafeLoader)
    assert value is None or load_yaml(text) == value


@pytest.mark.parametrize(
    "text", [BASE_60, b"18446744073709551616", b"-9223372036854775809", b"0x1" + b"0" * 16, b"3." + b"1" * 400]
)
def test_numbers_that_are_refused(text: bytes):
    with pytest.raises(YamlRefused, match=r"a number of|an integer of more than 64 bits"):
        load_yaml(text)


@given(st.text("ab:-[]{}&*!<|>'\"#%@ \n1", max_size=60).map(str.encode))
def test_small_documents_as_pyyaml_reads_them(data: bytes):
    """But for aliases that hold themselves, which it makes and we refuse."""
    try:
        found = load_yaml(data)
    except YamlRefused:
        return
    except YAML_ERRORS:
        with pytest.raises(YAML_ERRORS):
            yaml.load(data, Loader=yaml.CSafeLoader)
        return
    assert repr(found) == repr(yaml.load(data, Loader=yaml.CSafeLoader))


@pytest.mark.parametrize(
    "read",
    [
        lambda path: parse_mapping(path.read_bytes()),
        lambda path: get_yaml_config(str(path)),
        read_spec,
        read_log_config,
    ],
)
def test_every_reader_is_bounded(tmp_path: Path, read: Callable[[Path], object]):
    path = tmp_path / "x.yaml"
    path.write_bytes(BASE_60)
    with pytest.raises((ServeError, YamlRefused), match="a number of 201 characters"):
        read(path)
