"""Labels, classes and yaml, as TorchServe reads them."""

from __future__ import annotations

import collections.abc
import json
from collections import OrderedDict
from pathlib import Path

import pytest

from torchserve.core.handlers import context as context_module
from torchserve.core.handlers.classes import import_class, list_classes_from_module
from torchserve.core.handlers.context import Context, RequestProcessor
from torchserve.core.handlers.labels import load_label_mapping, map_class_to_label
from torchserve.core.handlers.yaml_config import get_yaml_config

PROBABILITIES = [[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]]


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ({"0": "cat"}, {"0": "cat"}),
        ({"0": ["n01", "tench"]}, {"0": "tench"}),
        ({"0": ["only"]}, {"0": "only"}),
        ({"object_type_names": ["bg", "person"], "0": "z"}, {"0": "bg", "1": "person"}),
        ({}, {}),
    ],
)
def test_label_files(tmp_path: Path, content: object, labels: dict[str, str]) -> None:
    path = tmp_path / "i.json"
    path.write_text(json.dumps(content))
    assert load_label_mapping(str(path)) == labels


def test_no_label_file_is_only_a_warning(tmp_path: Path, caplog) -> None:
    assert load_label_mapping(str(tmp_path / "i.json")) is None
    assert "i.json' is missing. Inference output will not include class name." in caplog.text


@pytest.mark.parametrize("content", ['["a"]', "{bad", '{"0": 1}', '{"0": []}', '{"object_type_names": {"0": "a"}}'])
def test_wrong_label_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "i.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"mapping|Expecting"):
        load_label_mapping(str(path))


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        ((PROBABILITIES,), [{"0": 0.1, "1": 0.2, "2": 0.7}, {"0": 0.5, "1": 0.25, "2": 0.25}]),
        ((PROBABILITIES[:1], {"0": "a", "1": "b", "2": "c"}), [{"a": 0.1, "b": 0.2, "c": 0.7}]),
        ((PROBABILITIES[:1], None, [[2, 1, 0]]), [{"2": 0.1, "1": 0.2, "0": 0.7}]),
        ((PROBABILITIES[:1], {"7": "g", "8": "h", "9": "i"}, [[9, 8, 7]]), [{"i": 0.1, "h": 0.2, "g": 0.7}]),
        ((PROBABILITIES[:1], {"0": "a", "1": "a", "2": "a"}), [{"a": 0.7}]),
        (([],), []),
    ],
)
def test_probabilities_by_label(arguments: tuple, rows: list[dict[str, float]]) -> None:
    answer = map_class_to_label(*arguments)
    assert answer == rows
    assert [list(row) for row in answer] == [list(row) for row in rows]


def test_a_class_without_a_label_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="1"):
        map_class_to_label(PROBABILITIES, {"0": "a"})


def test_a_mapping_that_is_none_is_told() -> None:
    with pytest.raises(TypeError, match="Mapping must be a dict"):
        map_class_to_label(PROBABILITIES, ["a"])


def test_classes_of_a_module_are_its_own() -> None:
    assert list_classes_from_module(context_module) == [Context, RequestProcessor]
    assert list_classes_from_module(context_module, Context) == [Context]


@pytest.mark.parametrize(
    ("arguments", "cls"),
    [
        (("collections.OrderedDict",), OrderedDict),
        (("OrderedDict", "collections"), OrderedDict),
        (("abc.Mapping", "collections"), collections.abc.Mapping),
    ],
)
def test_import_class(arguments: tuple[str, ...], cls: type) -> None:
    assert import_class(*arguments) is cls


@pytest.mark.parametrize("arguments", [("Nope", "collections"), ("OrderedDict",), ("no_such_module.C",)])
def test_import_class_failures(arguments: tuple[str, ...]) -> None:
    with pytest.raises(ImportError):
        import_class(*arguments)


@pytest.mark.parametrize(("text", "config"), [("a: {b: [1]}\n", {"a": {"b": [1]}}), ("", {})])
def test_yaml(tmp_path: Path, text: str, config: dict[str, object]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert get_yaml_config(str(path)) == config


@pytest.mark.parametrize("text", ["- 1\n", "word\n"])
def test_yaml_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match="expected a mapping"):
        get_yaml_config(str(path))


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("a: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(Exception, match="could not determine a constructor"):
        get_yaml_config(str(path))
