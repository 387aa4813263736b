"""TLS: which certificate is shown, what is wrong with one, and what a TLS port says to those who don't speak it."""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificate

from torchserve.core.config.address import Address
from torchserve.core.errors import InvalidConfig
from torchserve.http.message.limits import Limits
from torchserve.http.transport.tls import Identity, server_context

from ...descriptors import open_paths
from .. import certificates
from ..doubles import SOON, RunningFront, connect, head_and_body, running_front, until

GET_PING = b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def tls_front(context: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[RunningFront]:
    listen = {"inference": Address("127.0.0.1", 0, tls=True)}
    async with running_front(listen=listen, tls=context or certificates.context(), **options) as h:
        yield h


async def ping(h: RunningFront, client: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", h.port(), ssl=client, server_hostname="localhost")
    try:
        writer.write(GET_PING)
        return await asyncio.wait_for(reader.read(), SOON)
    finally:
        writer.transport.abort()


# ---- certificates


async def test_a_weak_certificate_is_served_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    certificate, key = certificates.write_weak_pair(tmp_path)
    async with tls_front(server_context(Identity(certificate, key))) as h:
        client = certificates.trusting()
        client.set_ciphers("DEFAULT:@SECLEVEL=0")
        assert (await ping(h, client)).startswith(b"HTTP/1.1 200")
    assert "is weak (ee key too small): it is served" in caplog.text


def identities(folder: Path) -> dict[str, Identity]:
    certificate, key = certificates.write_pair(folder)
    (folder / "store.p12").write_bytes(certificates.keystore("changeit"))
    (folder / "other.p12").write_bytes(certificates.keystore("sesame"))
    return {
        "pem": Identity(certificate_file=certificate, private_key_file=key),
        "keystore": Identity(keystore=folder / "store.p12"),
        "keystore with a password": Identity(keystore=folder / "other.p12", keystore_pass="sesame"),
        "both": Identity(certificate_file=Path("gone"), private_key_file=Path("gone"), keystore=folder / "store.p12"),
    }


@pytest.mark.parametrize("name", ["pem", "keystore", "keystore with a password", "both"])
async def test_a_client_that_trusts_the_certificate_is_served(tmp_path: Path, name: str) -> None:
    identity = identities(tmp_path)[name]
    client = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    async with tls_front(server_context(identity)) as h:
        assert b"Healthy" in await ping(h, client)


async def test_without_a_certificate_one_is_made(caplog: pytest.LogCaptureFixture) -> None:
    context = server_context(Identity())
    assert "no client has a reason to trust" in caplog.text
    async with tls_front(context) as h:
        assert b"Healthy" in await ping(h, certificates.trusting())
        with pytest.raises(ssl.SSLCertVerificationError):
            await ping(h, ssl.create_default_context())


@pytest.mark.parametrize(
    ("version", "served"),
    [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_versions(version: ssl.TLSVersion, served: bool) -> None:
    client = certificates.trusting(version)
    client.set_ciphers("DEFAULT:@SECLEVEL=0")
    async with tls_front() as h:
        if served:
            assert b"Healthy" in await ping(h, client)
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await ping(h, client)


def broken(folder: Path) -> dict[str, tuple[Identity, str]]:
    certificate, key = certificates.write_pair(folder)
    locked = load_pem_private_key(certificates.pem(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    (folder / "locked.pem").write_bytes(locked)
    (folder / "junk.pem").write_text("junk")
    (folder / "store.p12").write_bytes(certificates.keystore("changeit"))
    from torchserve.http.transport.tls import _self_signed

    (folder / "stranger.pem").write_bytes(_self_signed().partition(b"-----BEGIN CERTIFICATE")[0])
    return {
        "no key": (Identity(certificate_file=certificate), "certificate_file is given and private_key_file is not"),
        "no certificate": (Identity(private_key_file=key), "private_key_file is given and certificate_file is not"),
        "gone": (Identity(Path("gone"), key), "certificate_file=gone can't be read: No such file"),
        "gone key": (Identity(certificate, Path("gone")), "private_key_file=gone can't be read: No such file"),
        "junk": (Identity(folder / "junk.pem", key), "are no PEM certificate with its unencrypted key"),
        "another's key": (Identity(certificate, folder / "stranger.pem"), "key values mismatch"),
        "encrypted": (Identity(certificate, folder / "locked.pem"), "are no PEM certificate with its unencrypted key"),
        "no keystore": (Identity(keystore=Path("gone")), "keystore=gone can't be read: No such file"),
        "wrong password": (
            Identity(keystore=folder / "store.p12", keystore_pass="x"),
            "keystore_pass is not its password",
        ),
        "no PKCS12": (Identity(keystore=folder / "junk.pem"), "is no PKCS12 keystore"),
        "JKS": (Identity(keystore=folder / "store.p12", keystore_type="JKS"), "keystore_type=JKS can't be read"),
    }


@pytest.mark.parametrize(
    "name",
    ["no key", "no certificate", "gone", "gone key", "junk", "another's key", "encrypted", "no keystore",
     "wrong password", "no PKCS12", "JKS"],
)  # fmt: skip
def test_what_can_not_be_used_is_named(tmp_path: Path, name: str) -> None:
    identity, why = broken(tmp_path)[name]
    with pytest.raises(InvalidConfig, match=why) as caught:
        server_context(identity)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("name", ["made", "keystore"])
def test_without_the_extra_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    identity = Identity() if name == "made" else identities(tmp_path)["keystore"]
    for module in ("cryptography", "cryptography.hazmat.primitives.serialization"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InvalidConfig, match=r"pip install 'torchserve\[tls\]'; or give"):
        server_context(identity)


def test_a_keystore_without_a_key(tmp_path: Path) -> None:
    certificate = load_pem_x509_certificate(certificates.pem())
    store = pkcs12.serialize_key_and_certificates(b"x", None, None, [certificate], NoEncryption())
    (tmp_path / "store.p12").write_bytes(store)
    with pytest.raises(InvalidConfig, match="has no private key with its certificate"):
        server_context(Identity(keystore=tmp_path / "store.p12", keystore_pass=""))


def test_no_key_is_left_in_an_open_file(tmp_path: Path) -> None:
    server_context(identities(tmp_path)["keystore"])
    assert open_paths("memfd:certificate") == []


async def test_one_port_is_not_both_with_and_without_tls() -> None:
    listen = {"inference": Address("127.0.0.1", 8080, tls=True), "metrics": Address("127.0.0.1", 8080)}
    with pytest.raises(InvalidConfig, match=r"inference_address=https://.* and metrics_address=http://.* are one port"):
        async with running_front(listen=listen, tls=certificates.context()):
            pass


@pytest.mark.parametrize(
    ("one", "other"),
    [("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("0.0.0.0", "::1"), ("localhost", "0.0.0.0")],
)
async def test_every_address_has_no_room_for_one_of_them(one: str, other: str) -> None:
    listen = {"inference": Address(one, 8080), "metrics": Address(other, 8080)}
    with pytest.raises(InvalidConfig, match=r"are one port: .* is every address of this machine"):
        async with running_front(listen=listen):
            pass


# ---- those who don't speak TLS


@pytest.mark.parametrize(
    "raw", [GET_PING, b"POST /predictions/m HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"nonsense"]
)
async def test_plain_http_is_told_to_use_https(raw: bytes) -> None:
    async with tls_front(limits=Limits(linger=0.05)) as h:
        lines, body = head_and_body(await h.say(raw))
        assert lines[0] == "HTTP/1.1 403 Forbidden"
        assert body == b'{\n  "status": "This TorchServe instance only accepts HTTPS requests"\n}\n'
        assert h.data.payloads == []
        assert [entry.status for entry in h.log] == [403]


async def test_a_handshake_that_comes_to_nothing_harms_nobody() -> None:
    async def say(h: RunningFront, raw: bytes) -> None:
        async with connect(h.port()) as (reader, writer):
            writer.write(raw)
            with suppress(ConnectionResetError):
                await asyncio.wait_for(reader.read(), SOON)

    async with tls_front(limits=Limits(handshake=1.0)) as h:
        raws = (b"", b"\x16", b"\x16\x03\x01\x00\x05hello", b"\x16" + b"x" * 20_000)
        await asyncio.gather(*(say(h, raw) for raw in raws))
        assert b"Healthy" in await ping(h, certificates.trusting())


async def test_a_client_that_leaves_before_its_first_byte() -> None:
    async with tls_front() as h:
        for _ in range(20):
            probe = socket.create_connection(("127.0.0.1", h.port()))
            probe.close()
        assert b"Healthy" in await ping(h, certificates.trusting())
        (listener,) = h.front._servers
        await until(lambda: not listener._silent)


async def test_without_file_descriptors_it_waits_for_some(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("torchserve.http.transport.accepting._PAUSE", 0.05)
    async with tls_front() as h:
        waiting = socket.create_connection(("127.0.0.1", h.port()))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (waiting.fileno() + 1, hard))
        try:
            await until(lambda: "new connections wait" in caplog.text)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert b"Healthy" in await ping(h, certificates.trusting())
        waiting.close()


async def test_stopping_ends_connections_that_have_not_greeted() -> None:
    async with tls_front() as h, connect(h.port()) as (reader, _), connect(h.port()) as (reader2, writer2):
        (listener,) = h.front._servers
        writer2.write(b"\x16")
        await until(lambda: len(listener._silent) == 1 and listener._greeting)
        await h.front.stop()
        for each in (reader, reader2):
            assert await asyncio.wait_for(each.read(), SOON) == b""


async def test_many_at_once() -> None:
    async with tls_front() as h:
        client = certificates.trusting()
        assert all(b"Healthy" in each for each in await asyncio.gather(*(ping(h, client) for _ in range(100))))
