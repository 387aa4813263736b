"""The grammar of names and versions: what it lets through is safe wherever a name goes."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.archive.store import default_name
from torchserve.core.archive.writer import MODEL_NAME
from torchserve.core.errors import BadRequest
from torchserve.core.logs.printable import one_line
from torchserve.core.model_name import LONGEST, check_name, check_version, why_not


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "1.0",
        "resnet-50_v1.5",
        "bert+ner",
        "2.0-beta+cu121",
        "modèle",
        "模型",
        "модель",
        "नमूना",
        "éa",
        "my model",
        "llama:7b",
        "m@v2",
        "a~b",
        "_x",
        "a..b",
        "n" * LONGEST,
        "é" * 127,
    ],
)
def test_legal(name: str):
    assert check_name(name) == check_version(name) == name


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("", "'': it is empty"),
        ("a\0b", r"'a\x00b': character 2 is '\x00'"),
        ("a\nb", r"'a\nb': character 2 is '\n'"),
        ("a\rb", r"character 2 is '\r'"),
        ("a\x1b[31m", r"character 2 is '\x1b'"),
        ("a\tb", r"character 2 is '\t'"),
        ("a\x85b", r"character 2 is '\x85'"),
        ("a\u2028b", r"character 2 is '\u2028'"),
        ("a\u202eb", r"character 2 is '\u202e'"),
        ("a\u00a0b", r"character 2 is '\xa0'"),
        ("a\ud800", r"character 2 is '\ud800'"),
        ("a/b", "character 2 is '/'"),
        ("a\\b", r"character 2 is '\\'"),
        ("a%b", "character 2 is '%'"),
        ("a?b", "character 2 is '?'"),
        ("a#b", "character 2 is '#'"),
        ("a,b", "character 2 is ','"),
        ("a=b", "character 2 is '='"),
        ("a|b", "character 2 is '|'"),
        ('a"b', "character 2 is '\"'"),
        ("a{b", "character 2 is '{'"),
        ("..", "character 1 is '.'"),
        (".a", "character 1 is '.'"),
        ("-a", "character 1 is '-'"),
        (" a", "character 1 is ' '"),
        ("a ", "it ends with a space"),
        ("\u0301a", r"character 1 is '\u0301'"),
        ("n" * 5000, f"'{'n' * 80}'...: it has 5000 characters"),
        ("é" * 128, "it has 128 characters"),
    ],
)
def test_illegal(name: str, cause: str):
    for check, what in ((check_name, "model name"), (check_version, "model version")):
        with pytest.raises(BadRequest, match=f"^Invalid {what} ") as caught:
            check(name)
        assert cause in caught.value.message
        assert "it consists of letters and digits of any script" in caught.value.message
        assert caught.value.message.isascii()
        assert len(caught.value.message) < 800


@given(st.text(min_size=1, max_size=300) | st.text("aA1é模_-.+:@~ /\\%\0\n\r\x1b\u202e", min_size=1, max_size=12))
def test_what_is_legal_is_safe(name: str):
    if why_not(name):
        return
    assert len(name.encode()) <= LONGEST
    assert name == name.strip()
    assert one_line(name) == name, "a text log shows it as it is"
    assert unquote(quote(name, safe="")) == name
    assert PurePosixPath("/folder", name).parts == ("/", "folder", name)
    assert not name.startswith((".", "-"))
    assert not set(name) & set(",|=\"'{}/\\%?#&;<>$`*!\0\n")
    assert all(unicodedata.category(each)[0] in "LMN" or each in "_-.+:@~ " for each in name)


@given(st.from_regex(re.compile(MODEL_NAME), fullmatch=True).filter(lambda name: len(name) <= LONGEST))
def test_all_that_the_archiver_takes_is_legal(name: str):
    assert why_not(name) == ""


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=60))
def test_the_name_of_any_file_gives_a_legal_one(name: str):
    made = default_name(PurePosixPath(f"{name}.mar"))  # pyright: ignore[reportArgumentType]
    assert why_not(made) == ""
