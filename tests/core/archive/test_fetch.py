"""Downloads into the model store: what is permitted, checked at every hop, and what a bad server can do to us."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from torchserve.core.archive import fetch as fetch_module
from torchserve.core.archive.allowed_urls import TORCHSERVE_DEFAULT
from torchserve.core.archive.fetch import DownloadLimits
from torchserve.core.archive.store import Located, locate
from torchserve.core.errors import ArchiveExists, ArchiveNotFound, DownloadFailed, InvalidConfig

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        self.server.hits.append(self.path)
        self.server.answer(self)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.hits: list[str] = []
        self.ended = threading.Event()
        self.answer: Answer = lambda handler: handler.send(200, b"archive")
        self.scheme = "http"

    def handle_error(self, request: object, client_address: object) -> None:
        pass

    def url(self, path: str = "x.mar") -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}/{path}"

    @property
    def allowed(self) -> list[str]:
        return [self.url("").replace(".", r"\.") + ".*"]


def serve() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.ended.set()
    server.shutdown()
    thread.join()
    server.server_close()


server = pytest.fixture(serve, name="server")
canary = pytest.fixture(serve, name="canary")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def test_a_download_lands_in_the_store(server: Server, store: Path):
    url = server.url("deep/x%20y.mar").replace("%20", "_") + "?token=a/b.mar#part"
    located = locate(url, store, server.allowed)
    assert located == Located(url, store / "x_y.mar", downloaded=True)
    assert located.path.read_bytes() == b"archive"
    assert os.listdir(store) == ["x_y.mar"]
    assert server.hits == ["/deep/x_y.mar?token=a/b.mar"]


def test_chunked_and_endless_bodies(server: Server, store: Path):
    def chunked(handler: Handler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send(200, b"3\r\narc\r\n4\r\nhive\r\n0\r\n\r\n", Content_Length="", Transfer_Encoding="chunked")

    server.answer = chunked
    assert locate(server.url(), store, server.allowed).path.read_bytes() == b"archive"
    server.answer = lambda handler: handler.send(200, b"archive", Content_Length="")
    assert locate(server.url("y.mar"), store, server.allowed).path.read_bytes() == b"archive"


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
        locate("http://models.example/x.mar", store, None)
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


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://127.0.0.1", "http://127.0.0.1/.x", "http://127.0.0.1/a%2Fb"]
)
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
    handler.server.ended.wait(20)


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
    limits = DownloadLimits(max_bytes=2000, idle_timeout=0.3, total_timeout=0.6)
    start = time.monotonic()
    with pytest.raises(DownloadFailed, match=cause) as caught:
        locate(server.url(), store, server.allowed, limits)
    assert caught.value.message.startswith(f"Failed to download archive from: {server.url()}")
    assert time.monotonic() - start < 10
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


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "x.mar").write_bytes(b"archive")
    return tmp_path / "shelf"


def test_file_urls_are_copied_where_allowed(shelf: Path, store: Path):
    url = f"file://{shelf}/x.mar"
    located = locate(url, store, [f"file://{shelf}/.*"])
    assert located == Located(url, store / "x.mar", downloaded=True)
    assert (located.path.read_bytes(), (shelf / "x.mar").read_bytes()) == (b"archive", b"archive")


@pytest.mark.parametrize("patterns", [None, TORCHSERVE_DEFAULT, ["file:///elsewhere/.*"], []])
def test_file_urls_are_refused_elsewhere(patterns: list[str] | None, shelf: Path, store: Path):
    with pytest.raises(ArchiveNotFound, match="does not match any allowed URL"):
        locate(f"file://{shelf}/x.mar", store, patterns)
    assert os.listdir(store) == []


def test_without_allowed_urls_file_urls_stay_in_the_store(store: Path):
    (store / "sub").mkdir()
    (store / "sub" / "x.mar").write_bytes(b"archive")
    assert locate(f"file://{store}/sub/x.mar", store, None).path.read_bytes() == b"archive"


@pytest.mark.parametrize(
    ("name", "cause"), [("gone", "No such file"), ("folder", "directory|no regular"), ("fifo", "no regular file")]
)
def test_file_urls_of_what_is_no_file(name: str, cause: str, shelf: Path, store: Path):
    (shelf / "folder").mkdir()
    os.mkfifo(shelf / "fifo")
    with pytest.raises(DownloadFailed, match=cause):
        locate(f"file://{shelf}/{name}", store, ["file://.*"])
    assert os.listdir(store) == []


def test_a_large_local_file(shelf: Path, store: Path):
    with pytest.raises(DownloadFailed, match="larger than 3 bytes"):
        locate(f"file://{shelf}/x.mar", store, ["file://.*"], DownloadLimits(max_bytes=3))
    assert os.listdir(store) == []


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
    with pytest.raises(DownloadFailed, match="CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
        locate(server.url(), store, server.allowed)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    assert locate(server.url(), store, server.allowed).path.read_bytes() == b"archive"
    server.answer = drip
    with pytest.raises(DownloadFailed, match=r"longer than 0\.5 s"):
        locate(server.url("y.mar"), store, server.allowed, DownloadLimits(total_timeout=0.5))
    assert os.listdir(store) == ["x.mar"]
