"""The certificate of a server: PEM files, a PKCS12 keystore, or one made up at the start. Needs nothing of aiohttp."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import logging
import os
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ...core.errors import InvalidConfig

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate

log = logging.getLogger(__name__)

_EXTRA = "needs the package cryptography: pip install 'torchserve[tls]'"
_DAYS = 365
_WEAK = frozenset({"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"})  # reasons of OpenSSL


@dataclass(frozen=True, slots=True)
class Identity:
    """The settings of these names. A keystore goes before PEM files; without either a certificate is made."""

    certificate_file: Path | None = None
    private_key_file: Path | None = None
    keystore: Path | None = None
    keystore_pass: str = "changeit"  # noqa: S105  (the default of TorchServe and of Java)
    keystore_type: str = "PKCS12"

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that count; none if a certificate is made."""
        if self.keystore is not None:
            return (self.keystore,)
        return tuple(file for file in (self.certificate_file, self.private_key_file) if file is not None)


def server_context(identity: Identity) -> ssl.SSLContext:
    """Return a context for TLS 1.2 and newer. Raises InvalidConfig naming the setting and the file."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    load_identity(context, identity)
    return context


def load_identity(context: ssl.SSLContext, identity: Identity) -> None:
    """Have `context` show this certificate to those who connect from now on. Raises InvalidConfig."""
    if identity.keystore is not None:
        _load(context, _from_keystore(identity.keystore, identity), f"keystore={identity.keystore}")
    elif identity.certificate_file is not None and identity.private_key_file is not None:
        _load_files(context, identity.certificate_file, identity.private_key_file)
    elif identity.certificate_file is not None or identity.private_key_file is not None:
        given, missing = "certificate_file", "private_key_file"
        if identity.certificate_file is None:
            given, missing = missing, given
        raise InvalidConfig(f"{given} is given and {missing} is not: an https address needs both")
    else:
        _load(context, _self_signed(), "the certificate made at the start")
        log.warning(
            "https with a certificate made at the start, which no client has a reason to trust: give certificate_file"
            " and private_key_file, or keystore"
        )


def _load_files(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    for name, path in (("certificate_file", certificate), ("private_key_file", key)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise InvalidConfig(f"{name}={path} can't be read: {error.strerror}") from None
    try:
        try:
            _load_chain(context, certificate, key)
        except ssl.SSLError as error:
            if error.reason not in _WEAK:
                raise
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
            _load_chain(context, certificate, key)
            log.warning(
                "certificate_file=%s is weak (%s): it is served, as TorchServe did, and many clients will refuse it."
                " Replace it: RSA with 2,048 bits or more, or ECDSA, signed with SHA-256",
                *(certificate, error.reason.replace("_", " ").lower()),
            )
    except (ssl.SSLError, ValueError) as error:
        reason = (error.reason if isinstance(error, ssl.SSLError) else None) or str(error)
        raise InvalidConfig(
            f"certificate_file={certificate} and private_key_file={key} are no PEM certificate with its unencrypted"
            f" key: {reason.replace('_', ' ').lower()}"
        ) from None


def _load_chain(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    # The password is asked for if the key is encrypted; without this the terminal would be.
    context.load_cert_chain(certificate, key, password=lambda: "")


def _load(context: ssl.SSLContext, pem: bytes, source: str) -> None:
    """Hand certificate and key to OpenSSL, which reads files only."""
    try:
        file, path = _readable(pem)
        with file:
            context.load_cert_chain(path)
    except (ssl.SSLError, OSError) as error:
        raise InvalidConfig(f"{source} can't be used for TLS: {error}") from None


def _readable(pem: bytes) -> tuple[IO[bytes], str]:
    """Return an open file with this text, and its path: in memory, so that the key is never on a disk, where the system
    has such files (sandboxes refuse them, and Pythons of older headers have no name for them); else in the temporary
    folder, readable by its owner alone, until it is closed. Raises OSError.
    """
    memory: int | None = None
    if Path("/proc/self/fd").is_dir():
        with contextlib.suppress(AttributeError, OSError):
            memory = os.memfd_create("certificate")
    if memory is None:
        file = tempfile.NamedTemporaryFile("w+b")  # noqa: SIM115  (the caller closes it)
        path = file.name
    else:
        file = os.fdopen(memory, "w+b")
        path = f"/proc/self/fd/{memory}"
    file.write(pem)
    file.flush()
    return file, path


def _from_keystore(path: Path, identity: Identity) -> bytes:
    if identity.keystore_type.upper() != "PKCS12":
        raise InvalidConfig(
            f"keystore_type={identity.keystore_type} can't be read, PKCS12 can: keytool -importkeystore -srckeystore"
            f" {path} -destkeystore keystore.p12 -deststoretype PKCS12"
        )
    try:
        from cryptography.hazmat.primitives.serialization import pkcs12  # an extra, and slow to import
    except ModuleNotFoundError:
        raise InvalidConfig(f"keystore={path} {_EXTRA}; or give certificate_file and private_key_file") from None
    try:
        key, certificate, chain = pkcs12.load_key_and_certificates(path.read_bytes(), identity.keystore_pass.encode())
    except OSError as error:
        raise InvalidConfig(f"keystore={path} can't be read: {error.strerror}") from None
    except ValueError:
        raise InvalidConfig(f"keystore={path} is no PKCS12 keystore, or keystore_pass is not its password") from None
    if key is None or certificate is None:
        raise InvalidConfig(f"keystore={path} has no private key with its certificate")
    return _pem(key, [certificate, *chain])


def _pem(key: PrivateKeyTypes, certificates: list[Certificate]) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    parts = [key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())]
    parts += [each.public_bytes(Encoding.PEM) for each in certificates]
    return b"".join(parts)


def _self_signed() -> bytes:
    try:
        from cryptography import x509  # an extra, and slow to import
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID
    except ModuleNotFoundError:
        raise InvalidConfig(
            f"An https address without certificate_file and private_key_file {_EXTRA}; or give these two"
        ) from None
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    addresses = [x509.IPAddress(ipaddress.ip_address(each)) for each in ("127.0.0.1", "::1")]
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pem(key, [certificate])
