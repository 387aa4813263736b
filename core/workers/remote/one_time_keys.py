"""OneTimeKeys: the keys by which a front and the processes of its remote workers know each other.

At its start a front makes an authority and a certificate for itself; for each start of a worker it makes a key with a
certificate of that authority. All of them live in memory alone, and none is used for a second purpose: nobody has to
hand out, renew or revoke certificates, and what one front has made is worth nothing to the next.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InvalidConfig

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

FRONT = "front.torchserve.internal"  # the name in the front's certificate, which its workers check
_DAYS = 3650  # a front may run for long; its keys end with it


@dataclass(frozen=True, slots=True)
class WorkerKey:
    """The PEM texts of one worker's certificate and key, and the certificate's SHA-256."""

    certificate: str
    key: str
    fingerprint: str


class OneTimeKeys:
    """An authority, and the TLS context of the listener that trusts no other. Raises InvalidConfig without
    cryptography.
    """

    def __init__(self) -> None:
        try:
            from cryptography.hazmat.primitives.asymmetric import ec  # an extra, and slow to import
        except ModuleNotFoundError:
            raise InvalidConfig(
                "Workers on other hosts need the package cryptography for their keys: pip install 'torchserve[ray]'"
            ) from None
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _certificate("authority", self._key, None, None)
        self.authority = _pem_of(self._certificate)
        own = ec.generate_private_key(ec.SECP256R1())
        signed = _certificate(FRONT, own, self._certificate, self._key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.load_verify_locations(cadata=self.authority)
        self.context.num_tickets = 0  # a session is never resumed: each connection shows its certificate
        _load(self.context, _pem_of(signed) + _pem_of_key(own))

    def issue(self, worker: str) -> WorkerKey:
        """Return a new key for one start of `worker`."""
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import Encoding

        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(worker, key, self._certificate, self._key)
        fingerprint = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
        return WorkerKey(_pem_of(certificate), _pem_of_key(key), fingerprint)


def _certificate(
    name: str,
    key: EllipticCurvePrivateKey,
    issuer: Certificate | None,
    issuer_key: EllipticCurvePrivateKey | None,
) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])  # the standard's limit
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # the hosts' clocks may differ
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if name == FRONT:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return builder.sign(issuer_key or key, hashes.SHA256())


def _pem_of(certificate: Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def _pem_of_key(key: EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _load(context: ssl.SSLContext, pem: str) -> None:
    """Hand certificate and key to OpenSSL, which reads files only: one in memory, so that no key is on a disk."""
    memory = os.memfd_create("key")
    with os.fdopen(memory, "w") as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(Path(f"/proc/self/fd/{memory}"))
