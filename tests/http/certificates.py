"""Certificates for tests, made once, and a client that believes whatever it is shown."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12
from cryptography.x509 import load_pem_x509_certificate

from torchserve.http.tls import Identity, _self_signed, server_context


@cache
def pem() -> bytes:
    """A private key and its certificate."""
    return _self_signed()


@cache
def context() -> ssl.SSLContext:
    return server_context(Identity())


def trusting(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    client = ssl.create_default_context()
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    if version is not None:
        client.minimum_version = client.maximum_version = version
    return client


def write_pair(folder: Path) -> tuple[Path, Path]:
    """certificate_file and private_key_file."""
    key, _, certificate = pem().partition(b"-----BEGIN CERTIFICATE")
    (folder / "cert.pem").write_bytes(b"-----BEGIN CERTIFICATE" + certificate)
    (folder / "key.pem").write_bytes(key)
    return folder / "cert.pem", folder / "key.pem"


def keystore(password: str) -> bytes:
    key = load_pem_private_key(pem(), None)
    certificate = load_pem_x509_certificate(pem())
    return pkcs12.serialize_key_and_certificates(
        b"torchserve", key, certificate, None, BestAvailableEncryption(password.encode())
    )
