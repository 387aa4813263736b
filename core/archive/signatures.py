"""Signatures of archives, by OpenSSF model-signing: `NAME.mar.sig` beside `NAME.mar` says who made it.

The package is imported when it is needed: that takes seconds, and most servers never do.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import InvalidArchive, InvalidConfig

SUFFIX = ".sig"
_LARGEST = 1 << 20  # bytes of a signature: one of a single file has about a thousand
_EXTRA = "pip install 'torchserve[signing]' has what signatures need"


class SigningFailed(Exception):
    """An archive that could not be signed; the text says why."""


def signature_of(archive: Path) -> Path:
    """Return where the signature of an archive is."""
    return archive.with_name(archive.name + SUFFIX)


def sign(archive: Path, key: Path) -> Path:
    """Sign an archive with the elliptic-curve private key in the PEM file `key`, and return the signature's path.

    Raises SigningFailed.
    """
    if find_spec("model_signing") is None:
        raise SigningFailed(f"model-signing is not installed: {_EXTRA}")
    if archive.is_dir():
        raise SigningFailed(f"{archive} is a folder, whose files may change behind its signature: pack it to sign it")
    path = signature_of(archive)
    try:
        from model_signing import signing

        signing.Config().use_elliptic_key_signer(private_key=key).sign(archive, path)
    except Exception as error:
        raise SigningFailed(f"{archive.name} could not be signed with {key}: {_line(error)}") from error
    return path


def check_signers(keys: Sequence[Path]) -> None:
    """Raise InvalidConfig unless signatures can be checked with the public keys in these PEM files."""
    if not keys:
        return
    if find_spec("model_signing") is None:
        raise InvalidConfig(f"required_signers: model-signing is not installed: {_EXTRA}")
    for key in keys:
        try:
            text = key.read_bytes()[:_LARGEST]
        except OSError as error:
            raise InvalidConfig(f"required_signers: {key} can't be read: {error.strerror}") from None
        if b"-----BEGIN PUBLIC KEY-----" not in text:
            raise InvalidConfig(f"required_signers: {key} holds no public key in PEM's form")


class Sealed:
    """An archive whose signature was checked. `check` tells whether its file is still the same one.

    Making one raises InvalidArchive unless one of the public keys in `signers` has signed the archive.
    """

    def __init__(self, archive: Path, signers: Sequence[Path]) -> None:
        if archive.is_dir():
            raise InvalidArchive(
                "a folder is not accepted where required_signers is set, as its files may change behind its signature:"
                " pack it with torch-model-archiver --sign"
            )
        self._archive = archive
        self._seen = _identity(archive)
        _verify(archive, signature_of(archive), signers)

    def check(self) -> None:
        """Raise InvalidArchive if the file has been written to, or replaced, since its signature was checked."""
        if _identity(self._archive) != self._seen:
            raise InvalidArchive("it changed while it was opened, so that its signature says nothing of it")


def _identity(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        raise InvalidArchive(f"it can't be read: {error.strerror}") from None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _verify(archive: Path, signature: Path, signers: Sequence[Path]) -> None:
    try:
        size = signature.stat().st_size
    except OSError:
        raise InvalidArchive(
            f"it is not signed: {signature.name} is not beside it, and required_signers is set. Sign it with"
            " torch-model-archiver --sign"
        ) from None
    if size > _LARGEST:
        raise InvalidArchive(f"{signature.name} has {size} bytes, and a signature at most {_LARGEST}")
    why = ""
    for key in signers:
        error = _fault(archive, signature, key)
        if error is None:
            return
        why = _line(error)
    raise InvalidArchive(
        f"{signature.name} is not this archive's signature by one of the {len(signers)} required_signers: {why}"
    )


def _fault(archive: Path, signature: Path, key: Path) -> Exception | None:
    """Return what is wrong with the signature by this key, None if nothing is."""
    try:
        from model_signing import verifying

        checker: Any = verifying.Config().use_elliptic_key_verifier(public_key=key)
        checker.verify(archive, signature)
    except Exception as error:  # noqa: BLE001  (whatever a crafted signature makes the package raise is a refusal)
        return error
    return None


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
