"""config.properties: Java's grammar, the environment's variables in values, and errors that name the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.config.properties import Property, fill_in, read_properties
from torchserve.core.errors import InvalidConfig


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("a=1\nb: 2\nc 3\n", {"a": "1", "b": "2", "c": "3"}),
        ("# no\n! no\n  a = b c \n", {"a": "b c "}),
        ("a=1,\\\n   2,\\\n   3\n", {"a": "1,2,3"}),
        ("a=1\na=2\n", {"a": "2"}),
        ("a=\nb\n", {"a": "", "b": ""}),
        ("a=C:\\\\x\\ty\\u00e9\n", {"a": "C:\\x\tyé"}),
        ("a\\ b=1\r\nname=é\r\n", {"a b": "1", "name": "é"}),
    ],
)
def test_the_grammar(tmp_path: Path, text: str, expected: dict[str, str]) -> None:
    path = tmp_path / "c.properties"
    path.write_bytes(text.encode())
    assert {entry.key: entry.text for entry in read_properties(path)} == expected


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "can't be read: No such file or directory"),
        (b"b=2\n" + rb"a=\u12" + b"\n", r"Invalid configuration: .*c\.properties, line 2: "),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "c.properties"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidConfig, match=why) as caught:
        read_properties(path)
    assert str(path) in caught.value.message


def test_bytes_that_are_no_utf8_are_javas_latin1_and_a_byte_order_mark_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "c.properties"
    path.write_bytes(b"a=caf\xe9\n")
    assert read_properties(path) == [Property("a", "café", 1)]
    path.write_bytes(b"\xef\xbb\xbfa=1\n")
    assert read_properties(path) == [Property("a", "1", 1)]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_lines_are_counted_over_comments_and_continuations(tmp_path: Path, end: str) -> None:
    path = tmp_path / "c.properties"
    path.write_bytes(f"# 1{end}{end}a=1,\\{end}  2{end}! 5{end}b=3{end}".encode())
    assert read_properties(path) == [Property("a", "1,2", 3), Property("b", "3", 6)]


def test_a_folder_is_no_properties_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="Is a directory"):
        read_properties(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$$HOME$$", "/h"),
        ("a$$HOME$$/$$NAME$$b", "a/h/nb"),
        ("$HOME $$HOME$ $$$$ ${env:HOME}", "$HOME $$HOME$ $$$$ ${env:HOME}"),
        ("$$O-D D$$", "odd"),
        ("$$EMPTY$$", ""),
        ("$$TRICKY$$", r"\1 $$HOME$$"),
    ],
)
def test_variables_are_filled_in_once(text: str, expected: str) -> None:
    environment = {"HOME": "/h", "NAME": "n", "EMPTY": "", "TRICKY": r"\1 $$HOME$$", "O-D D": "odd"}
    assert fill_in(text, environment) == expected


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(ValueError, match=r"^Invalid Environment Variable NOPE_VAR$"):
        fill_in("x$$NOPE_VAR$$", {"NOPE": "1"})


@given(st.text())
def test_any_text_is_properties_or_an_invalid_config(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "wild.properties"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        values = read_properties(path)
    except InvalidConfig:
        return
    assert all(isinstance(entry.key, str) and isinstance(entry.text, str) for entry in values)
