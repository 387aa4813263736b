"""Archives in Google Cloud Storage: read with the machine's account, from the storage alone, and within bounds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from torchserve.core.archive import gcs
from torchserve.core.archive.limits import DownloadLimits
from torchserve.core.errors import ArchiveNotFound, DownloadFailed

from .finding import locate
from .web import Handler, Server

ALLOWED = ["gs://mine/.*"]


@pytest.fixture(autouse=True)
def _storage(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The storage and the machine's metadata are the test's server."""
    address = f"127.0.0.1:{server.server_port}"
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
    monkeypatch.setenv("GCE_METADATA_HOST", address)
    monkeypatch.delenv("AIP_STORAGE_URI", raising=False)
    monkeypatch.setattr(gcs._known, "until", 0.0)
    server.answer = answer


def answer(handler: Handler) -> None:
    if handler.path.startswith("/computeMetadata/"):
        assert handler.headers["Metadata-Flavor"] == "Google"
        handler.send(200, b'{"access_token": "abc", "expires_in": 3600}')
    elif handler.headers["Authorization"] != "Bearer abc":
        handler.send(401)
    elif "/o?" in handler.path:
        names = ["deep/a.mar", "deep/b c.mar", "deep/readme.txt"]
        handler.send(200, json.dumps({"items": [{"name": name} for name in names]}).encode())
    else:
        handler.send(200, b"archive")


def test_an_object_is_read_with_the_machines_account(server: Server, store: Path) -> None:
    found = locate("gs://mine/deep/b%20c.mar", store, ALLOWED)
    assert found.path.read_bytes() == b"archive"
    assert server.hits[1:] == ["/storage/v1/b/mine/o/deep%2Fb%20c.mar?alt=media"]
    locate("gs://mine/deep/a.mar", store, ALLOWED)
    assert len(server.hits) == 3, "a token is asked for once in its life"


def test_without_an_account_the_object_must_be_public(server: Server, store: Path) -> None:
    server.answer = lambda handler: handler.send(404 if "computeMetadata" in handler.path else 200, b"archive")
    assert locate("gs://mine/a.mar", store, ALLOWED).path.read_bytes() == b"archive"


@pytest.mark.parametrize("url", ["gs://mine/a.mar", "gs://other/a.mar", "gs:///a.mar", "gs://mine"])
def test_what_is_not_permitted_is_not_asked_for(server: Server, store: Path, url: str) -> None:
    with pytest.raises(ArchiveNotFound):
        locate(url, store, None if "mine/" in url else ALLOWED)
    assert server.hits == []


def test_the_platforms_own_folder_is_permitted(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIP_STORAGE_URI", "gs://mine/deep")
    assert locate("gs://mine/deep/a.mar", store).path.read_bytes() == b"archive"
    with pytest.raises(ArchiveNotFound):
        locate("gs://mine/deeper/a.mar", store)


def test_the_account_is_shown_to_no_other_host(server: Server, canary: Server, store: Path) -> None:
    def elsewhere(handler: Handler) -> None:
        if "computeMetadata" in handler.path:
            answer(handler)
        else:
            handler.send(302, Location=canary.url("a.mar"))

    server.answer = elsewhere
    with pytest.raises((ArchiveNotFound, DownloadFailed)):
        locate("gs://mine/a.mar", store, ALLOWED)
    assert canary.hits == []


def test_an_object_that_is_too_long_leaves_nothing(store: Path) -> None:
    with pytest.raises(DownloadFailed, match="at most 3 are accepted"):
        locate("gs://mine/a.mar", store, ALLOWED, DownloadLimits(max_bytes=3))
    assert list(store.iterdir()) == []


def test_a_folders_archives_are_listed(server: Server) -> None:
    assert gcs.list_archives("gs://mine/deep/") == ("gs://mine/deep/a.mar", "gs://mine/deep/b%20c.mar")
    assert "prefix=deep%2F" in server.hits[-1]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{}", "has 0 archives"),
        (json.dumps({"items": [{"name": f"{at}.mar"} for at in range(101)]}).encode(), "has 101 archives"),
        (b"[]", "can't be listed"),
        (b'{"items": [{}]}', "can't be listed"),
        (b"\xff", "can't be listed"),
    ],
)
def test_a_list_that_can_not_be_loaded_is_told(server: Server, body: bytes, why: str) -> None:
    server.answer = lambda handler: handler.send(200, body)
    with pytest.raises(DownloadFailed, match=why):
        gcs.list_archives("gs://mine/deep/")
