"""Which URLs may be downloaded from: patterns, addresses and redirects, checked at every hop."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from torchserve.core.archive.allowed_urls import TORCHSERVE_DEFAULT
from torchserve.core.archive.limits import DownloadLimits
from torchserve.core.errors import ArchiveNotFound, DownloadFailed, InvalidConfig

from .finding import locate
from .web import Handler, Server


@pytest.mark.parametrize("patterns", [None, TORCHSERVE_DEFAULT])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f000001", "[::ffff:127.0.0.1]", "0"])
def test_without_allowed_urls_loopback_is_not_reached(
    host: str, patterns: tuple[str, ...] | None, server: Server, store: Path
):
    with pytest.raises(ArchiveNotFound, match="which is not public; name it in allowed_urls"):
        locate(f"http://{host}:{server.server_port}/x.mar", store, patterns)
    assert (server.hits, os.listdir(store)) == ([], [])


def test_the_checked_address_is_the_one_connected_to(store: Path, monkeypatch: pytest.MonkeyPatch):
    """A second look-up, which a hostile name server answers otherwise, doesn't happen."""
    asked: list[str] = []
    connected: list[object] = []

    def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        address = "93.184.216.34" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def connect(address: object, timeout: float) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(DownloadFailed, match="Connection refused"):
        locate("http://models.example/x.mar", store, None, DownloadLimits(attempts=1))
    assert (asked, connected) == (["models.example"], [("93.184.216.34", 80)])


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/elsewhere/x.mar",
        "http://user@127.0.0.1:{port}/ok/x.mar",
        "http://127.0.0.1:{port}/ok/\\x.mar",
        "http://127.0.0.1:{port}/ok/ x.mar",
        "http://127.0.0.1:{port}/ok/x.mar\r\nHost: y",
        "http://127.0.0.1:99999/ok/x.mar",
        "http://[::1/ok/x.mar",
        "http:///ok/x.mar",
        "file:///etc/hostname",
        "file://127.0.0.1/etc/hostname",
    ],
)
def test_what_is_not_allowed_is_not_touched(url: str, server: Server, store: Path):
    url = url.format(port=server.server_port)
    patterns = [r"https?://(.*@)?127\.0\.0\.1:\d+/ok/[^/]*", r"http:///ok/.*", r"http://\[::1/.*"]
    with pytest.raises(ArchiveNotFound) as caught:
        locate(url, store, patterns)
    assert caught.value.message == f"Given URL {url} does not match any allowed URL(s)"
    assert (server.hits, os.listdir(store)) == ([], [])


def test_patterns_match_in_full_and_in_any_case(server: Server, store: Path):
    with pytest.raises(ArchiveNotFound, match="does not match"):
        locate(server.url(), store, [server.url("").rstrip("/")])
    locate(server.url().replace("http", "HTTP"), store, ["nothing", server.url().replace("x.mar", "X.MAR")])
    assert os.listdir(store) == ["x.mar"]
    with pytest.raises(InvalidConfig, match=r"allowed_urls: '\(' is no regular expression"):
        locate(server.url("y.mar"), store, ["("])


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://127.0.0.1", "http://127.0.0.1/.x", "http://127.0.0.1/a/"])
def test_a_url_that_names_no_file(url: str, store: Path):
    with pytest.raises(ArchiveNotFound, match="Model not found at"):
        locate(url, store, [".*"])
    assert os.listdir(store) == []


@pytest.mark.parametrize("hops", [1, 3])
def test_a_redirect_to_a_disallowed_host_is_not_followed(hops: int, server: Server, canary: Server, store: Path):
    def redirect(handler: Handler) -> None:
        last = len(server.hits) == hops
        handler.send(302, b"", Location=canary.url() if last else f"/hop{len(server.hits)}")

    server.answer = redirect
    with pytest.raises(ArchiveNotFound, match="does not match any allowed URL"):
        locate(server.url(), store, server.allowed)
    assert (len(server.hits), canary.hits, os.listdir(store)) == (hops, [], [])


def test_a_redirect_to_a_file_is_not_followed(server: Server, store: Path, tmp_path: Path):
    (tmp_path / "secret").write_text("s")
    server.answer = lambda handler: handler.send(302, b"", Location=f"file://{tmp_path}/secret")
    with pytest.raises(ArchiveNotFound, match="does not match any allowed URL"):
        locate(server.url(), store, [".*"])
    assert os.listdir(store) == []


def test_allowed_redirects_are_followed(server: Server, canary: Server, store: Path):
    server.answer = lambda handler: handler.send(307, b"", Location=canary.url("other.mar"))
    located = locate(server.url(), store, server.allowed + canary.allowed)
    assert located.path == store / "x.mar"
    assert (located.path.read_bytes(), canary.hits) == (b"archive", ["/other.mar"])
