"""Certificates for tests, made once, and a client that believes whatever it is shown."""

from __future__ import annotations

import datetime
import ssl
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificate
from cryptography.x509.oid import NameOID

from torchserve.http.transport.tls import Identity, _self_signed, server_context


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


def write_weak_pair(folder: Path) -> tuple[Path, Path]:
    """As write_pair, with RSA of 1,024 bits, which TorchServe's own tests have."""
    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    ).sign(key, hashes.SHA256())
    (folder / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"


def keystore(password: str) -> bytes:
    key = load_pem_private_key(pem(), None)
    certificate = load_pem_x509_certificate(pem())
    return pkcs12.serialize_key_and_certificates(
        b"torchserve", key, certificate, None, BestAvailableEncryption(password.encode())
    )
