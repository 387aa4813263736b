"""Finding archives by name, as folders, and everything that is not to be found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.archive.store import Located, default_name, list_store
from torchserve.core.errors import ArchiveNotFound

from .finding import locate


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = tmp_path / "store"
    for folder in ("folder", ".hidden", "sub"):
        (store / folder).mkdir(parents=True)
    for name in ("a.mar", "b.model", "c.tar.gz", "d.txt", ".e.mar", ".x.mar.12.part", "sub/f.mar"):
        (store / name).write_text("x")
    (tmp_path / "outside.mar").write_text("x")
    (tmp_path / "outside").mkdir()
    return store


@pytest.mark.parametrize("name", ["a.mar", "./a.mar", "d.txt", "folder", "sub/f.mar"])
def test_names_in_the_store(name: str, store: Path):
    assert locate(name, store, None) == Located(name, store / name, name)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("elsewhere/a.mar", "a.mar"),
        ("/elsewhere/a.mar", "a.mar"),
        ("{tmp}/a.mar", "a.mar"),
        ("elsewhere\\a.mar", "a.mar"),
        ("C:\\models\\a.mar", "a.mar"),
        ("\\\\server\\share/a.mar", "a.mar"),
        ("~/a.mar", "a.mar"),
        ("dir//a.mar", "a.mar"),
        ("sub/a.mar", "a.mar"),
        ("{store}/sub/a.mar", "a.mar"),
        ("elsewhere/folder", "folder"),
        ("elsewhere/d.txt", "d.txt"),
        ("elsewhere/my model.mar", "my model.mar"),
        ("elsewhere/é.mar", "é.mar"),
    ],
)
def test_a_path_that_leads_nowhere_is_looked_for_by_its_last_part(
    url: str, found: str, store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What TorchServe 0.12 answered to each of them."""
    for name in ("my model.mar", "é.mar"):
        (store / name).write_text("x")
    url = url.format(tmp=tmp_path, store=store)
    assert locate(url, store, None) == Located(url, store / found, url)
    assert caplog.messages == [f"{url} is not read: archives are taken from the model store, which has a {found}"]


@given(st.text(st.sampled_from("ab./\\~%:e-"), max_size=30))
def test_whatever_a_path_is_only_the_store_and_named_folders_are_read(
    tmp_path_factory: pytest.TempPathFactory, url: str
) -> None:
    top = tmp_path_factory.getbasetemp() / "only"
    (top / "store" / "a").mkdir(parents=True, exist_ok=True)
    for place in ("a", "b", "store/b", "store/.e", "store/a/b"):
        if not (top / place).is_dir():
            (top / place).write_text("x")
    try:
        found = locate(url, top / "store", None).path
    except ArchiveNotFound:
        return
    assert found.resolve().is_relative_to(top / "store") or (Path(url).is_absolute() and found.is_dir())
    assert not found.name.startswith(".")


def test_absolute_paths(store: Path, tmp_path: Path):
    for path in (tmp_path / "outside", store / "folder", store / "a.mar"):
        assert locate(str(path), store, None) == Located(str(path), path, str(path))
    assert locate(str(tmp_path / "outside"), None, None).path == tmp_path / "outside"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "empty url"),
        ("  ", "empty url"),
        ("../outside.mar", "Relative path is not allowed in url: ../outside.mar"),
        ("sub/../a.mar", "Relative path is not allowed in url: sub/../a.mar"),
        ("%2e%2e/outside.mar", "Relative path is not allowed in url: %2e%2e/outside.mar"),
        ("file:///x/../outside.mar", "Relative path is not allowed in url: file:///x/../outside.mar"),
        ("http://127.0.0.1/../x.mar", "Relative path is not allowed in url: http://127.0.0.1/../x.mar"),
        ("gone.mar", "Model not found at: gone.mar"),
        (".", "Model not found at: ."),
        (".e.mar", "Model not found at: .e.mar"),
        (".x.mar.12.part", "Model not found at: .x.mar.12.part"),
        ("a.mar\0", "Model not found at: a.mar\0"),
        ("n" * 5000, "Model not found at: " + "n" * 5000),
        ("ftp://host/x.mar", "Model not found at: ftp://host/x.mar"),
        ("ftp://host/a.mar", "Model not found at: ftp://host/a.mar"),
        ("elsewhere/.e.mar", "Model not found at: elsewhere/.e.mar"),
        ("elsewhere/", "Model not found at: elsewhere/"),
        ("elsewhere\\", "Model not found at: elsewhere\\"),
        ("elsewhere/gone.mar", "Model not found at: elsewhere/gone.mar"),
        ("dir%2Fa.mar", "Model not found at: dir%2Fa.mar"),
        ("A.MAR", "Model not found at: A.MAR"),
        ("gopher:a.mar", "Model not found at: gopher:a.mar"),
        ("{tmp}/outside.mar", "Model not found at: {tmp}/outside.mar"),
        ("/etc/hostname", "Model not found at: /etc/hostname"),
    ],
)
def test_what_is_not_found(url: str, message: str, store: Path, tmp_path: Path):
    before = sorted(os.listdir(store))
    with pytest.raises(ArchiveNotFound) as caught:
        locate(url.replace("{tmp}", str(tmp_path)), store, [".*"])
    assert caught.value.message == message.replace("{tmp}", str(tmp_path))
    assert sorted(os.listdir(store)) == before


@pytest.mark.parametrize("url", ["a.mar", "https://example.com/x.mar"])
def test_without_a_store(url: str):
    with pytest.raises(ArchiveNotFound, match="Model store has not been configured"):
        locate(url, None, None)


def test_the_list_of_the_store(store: Path):
    (store / "lost+found").mkdir()
    assert list_store(store) == ("a.mar", "b.model", "c.tar.gz", "folder", "sub")
    with pytest.raises(FileNotFoundError):
        list_store(store / "gone")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("a.mar", "a"),
        ("my-net.v1.mar", "my_net_v1"),
        ("b.model", "b"),
        ("c.tar.gz", "c"),
        ("_x.mar", "_x"),
        ("né", "n_"),
    ],
)
def test_default_names(file: str, name: str):
    assert default_name(Path("/store") / file) == name
