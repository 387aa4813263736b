"""Downloads into the model store: what lands there, and what a bad server can do to us."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from torchserve.core.archive import fetch as fetch_module
from torchserve.core.archive.allowed_urls import TORCHSERVE_DEFAULT
from torchserve.core.archive.limits import DownloadLimits
from torchserve.core.archive.store import Located
from torchserve.core.errors import ArchiveExists, DownloadFailed

from .finding import locate
from .web import Answer, Handler, Server


def test_a_download_lands_in_the_store(server: Server, store: Path):
    url = server.url("deep/x_y.mar") + "?token=a/b.mar#part"
    located = locate(url, store, server.allowed)
    assert located == Located(url, store / "x_y.mar", "x_y.mar", downloaded=True)
    assert located.path.read_bytes() == b"archive"
    assert os.listdir(store) == ["x_y.mar"]
    assert server.hits == ["/deep/x_y.mar?token=a/b.mar"]


@pytest.mark.parametrize(
    "name",
    (
        "my%20model.mar %C3%BCn%C3%AF.mar back%5Cslash.mar per%25cent.mar a%2Fb.mar a+b.mar semi;colon.mar a&b=c.mar"
        " ~t(1).mar q%27uote.mar %00.mar %2ehidden.mar"
    ).split(),
)
def test_an_escaped_name_is_the_files(server: Server, store: Path, name: str) -> None:
    """As TorchServe 0.12 stores them; the last two it was not asked."""
    located = locate(server.url(f"deep%20/{name}"), store, server.allowed)
    assert (located.name, os.listdir(store)) == (name, [name])
    assert server.hits == [f"/deep%20/{name}"]


def test_chunked_and_endless_bodies(server: Server, store: Path):
    def chunked(handler: Handler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send(200, b"3\r\narc\r\n4\r\nhive\r\n0\r\n\r\n", Content_Length="", Transfer_Encoding="chunked")

    server.answer = chunked
    assert locate(server.url(), store, server.allowed).path.read_bytes() == b"archive"
    server.answer = lambda handler: handler.send(200, b"archive", Content_Length="")
    assert locate(server.url("y.mar"), store, server.allowed).path.read_bytes() == b"archive"


def truncated(handler: Handler) -> None:
    handler.send(200, b"arch", Content_Length="1000")


def truncated_chunks(handler: Handler) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.send(200, b"100\r\nhalf", Content_Length="", Transfer_Encoding="chunked", Connection="close")
    handler.close_connection = True


def drip(handler: Handler) -> None:
    handler.send(200, b"", Content_Length="")
    while not handler.server.ended.wait(0.02):
        handler.wfile.write(b"x")


def drip_headers(handler: Handler) -> None:
    while not handler.server.ended.wait(0.02):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" if handler.server.hits.pop() else b"x")
        handler.server.hits.append("")


def silent(handler: Handler) -> None:
    handler.server.ended.wait(120)


IDLE = DownloadLimits(max_bytes=2000, idle_timeout=0.3)
LONG = DownloadLimits(max_bytes=2000, total_timeout=0.6)
LARGE = DownloadLimits(max_bytes=2000)


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (truncated, "cut after 4 of 1000 bytes"),
        (truncated_chunks, "IncompleteRead"),
        (lambda handler: handler.send(200, b"x" * 2001), "2001 bytes, and at most 2000"),
        (lambda handler: handler.send(200, b"x" * 2001, Content_Length=""), "larger than 2000 bytes"),
        (lambda handler: handler.send(404, b"gone"), "answered 404"),
        (lambda handler: handler.send(206, b"part"), "answered 206"),
        (lambda handler: handler.send(302), "redirect without a target"),
        (lambda handler: handler.send(302, Location="/again"), "more than 5 redirects"),
        (lambda handler: handler.wfile.write(b"SSH-2.0\r\n\r\n"), "SSH-2.0"),
        (lambda handler: None, "closed connection without response"),
        (silent, "timed out"),
        (drip, r"longer than 0\.6 s"),
        (drip_headers, r"longer than 0\.6 s"),
    ],
)
def test_a_failed_download_leaves_nothing(answer: Answer, cause: str, server: Server, store: Path):
    server.answer = answer
    limits = {silent: IDLE, drip: LONG, drip_headers: LONG}.get(answer, LARGE)
    with pytest.raises(DownloadFailed, match=cause) as caught:
        locate(server.url(), store, server.allowed, limits)
    assert caught.value.message.startswith(f"Failed to download archive from: {server.url()}")
    assert os.listdir(store) == []


def test_nobody_listens(store: Path):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/x.mar"
        with pytest.raises(DownloadFailed, match="Connection refused"):
            locate(url, store, [".*"])


def test_a_file_of_the_store_is_never_overwritten(server: Server, store: Path):
    (store / "x.mar").write_text("mine")
    with pytest.raises(ArchiveExists, match=r"^Model file already exists x\.mar$"):
        locate(server.url(), store, server.allowed)
    assert server.hits == []
    assert (store / "x.mar").read_text() == "mine"


def test_one_that_appears_meanwhile_is_not_overwritten_either(server: Server, store: Path):
    def answer(handler: Handler) -> None:
        (store / "x.mar").write_text("mine")
        handler.send(200, b"theirs")

    server.answer = answer
    with pytest.raises(ArchiveExists):
        locate(server.url(), store, server.allowed)
    assert ((store / "x.mar").read_text(), os.listdir(store)) == ("mine", ["x.mar"])


def test_an_existing_name_is_refused_before_the_network(store: Path):
    (store / "densenet161.mar").write_text("mine")
    with pytest.raises(ArchiveExists):
        locate("https://no-such-host.invalid/mar_files/densenet161.mar", store, TORCHSERVE_DEFAULT)


def test_a_store_that_is_missing(server: Server, tmp_path: Path):
    with pytest.raises(DownloadFailed, match="No such file or directory"):
        locate(server.url(), tmp_path / "nowhere", server.allowed)
    assert server.hits == []


def test_a_file_system_without_hard_links(server: Server, store: Path, monkeypatch: pytest.MonkeyPatch):
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(fetch_module.os, "link", link)
    assert locate(server.url(), store, server.allowed).path.read_bytes() == b"archive"
    assert os.listdir(store) == ["x.mar"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_https_is_verified(server: Server, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=test"
        " -addext subjectAltName=IP:127.0.0.1".split(),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.scheme = "https"
    with pytest.raises(DownloadFailed, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
        locate(server.url(), store, server.allowed)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    assert locate(server.url(), store, server.allowed).path.read_bytes() == b"archive"
    server.answer = drip
    with pytest.raises(DownloadFailed, match=r"longer than 0\.5 s"):
        locate(server.url("y.mar"), store, server.allowed, DownloadLimits(total_timeout=0.5))
    assert os.listdir(store) == ["x.mar"]
