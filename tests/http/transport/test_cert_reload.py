"""A certificate that is replaced: taken by those who connect then, once it is whole; else the old one stays."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from torchserve.http.transport.cert_reload import CertReload
from torchserve.http.transport.tls import Identity, _self_signed, server_context

from .test_tls import ping, tls_front


def put(folder: Path, *, only: str = "") -> tuple[Path, Path]:
    """A fresh certificate and its key at their paths, each in one step; or one of the two alone."""
    key, mark, certificate = _self_signed().partition(b"-----BEGIN CERTIFICATE")
    for name, text in (("cert.pem", mark + certificate), ("key.pem", key)):
        if only in {"", name}:
            (folder / "draft").write_bytes(text)
            (folder / "draft").replace(folder / name)
    return folder / "cert.pem", folder / "key.pem"


def believing(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(folder / "cert.pem"))


async def test_a_replaced_certificate_is_shown_to_those_who_come_then(tmp_path: Path) -> None:
    identity = Identity(*put(tmp_path))
    context = server_context(identity)
    reload, old = CertReload(context, identity), believing(tmp_path)
    async with tls_front(context) as h:
        assert b"Healthy" in await ping(h, old)
        assert not await reload.look(), "nothing has changed"
        put(tmp_path)
        assert await reload.look()
        assert b"Healthy" in await ping(h, believing(tmp_path))
        with pytest.raises(ssl.SSLCertVerificationError):
            await ping(h, old)
        assert not await reload.look()


async def test_half_a_pair_leaves_the_old_one_until_the_other_half_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    identity = Identity(*put(tmp_path))
    context = server_context(identity)
    reload, old = CertReload(context, identity), believing(tmp_path)
    async with tls_front(context) as h:
        key = (tmp_path / "key.pem").read_bytes()
        put(tmp_path, only="cert.pem")
        (tmp_path / "key.pem").unlink()
        assert not await reload.look()
        assert caplog.messages == [], "it may be on its way"
        (tmp_path / "key.pem").write_bytes(key)
        assert not await reload.look()
        assert caplog.messages[0].startswith("The new certificate can't be used, the old one stays: certificate_file=")
        assert not await reload.look()
        assert len(caplog.messages) == 1, "said once"
        assert b"Healthy" in await ping(h, old)
        put(tmp_path)
        assert await reload.look()
        assert b"Healthy" in await ping(h, believing(tmp_path))


async def test_it_looks_again_and_again(tmp_path: Path) -> None:
    identity = Identity(*put(tmp_path))
    context = server_context(identity)
    running = asyncio.create_task(CertReload(context, identity).run(every=0.001))
    async with tls_front(context) as h:
        put(tmp_path)
        client = believing(tmp_path)
        async with asyncio.timeout(20):
            while True:
                try:
                    assert b"Healthy" in await ping(h, client)
                    break
                except ssl.SSLCertVerificationError:
                    await asyncio.sleep(0.005)
    running.cancel()


async def test_a_certificate_that_was_made_has_nothing_to_be_looked_at() -> None:
    await CertReload(server_context(Identity()), Identity()).run()
    assert Identity(keystore=Path("a.p12"), certificate_file=Path("b")).files == (Path("a.p12"),)
