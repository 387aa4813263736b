"""With required_signers nothing is unpacked that one of them has not signed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from torchserve.cli.archiver import main
from torchserve.cli.workflow_archiver import main as archive_workflow
from torchserve.core.archive.reader import open_archive
from torchserve.core.archive.signatures import Sealed, check_signers, sign
from torchserve.core.archive.workflow_reader import open_workflow
from torchserve.core.errors import InvalidArchive, InvalidConfig, InvalidWorkflow

pytest.importorskip("model_signing", exc_type=ImportError)


def key_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """The paths of a new private and a public key."""
    made = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    plain = serialization.NoEncryption()
    private.write_bytes(made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(made.public_key().public_bytes(serialization.Encoding.PEM, form))
    return private, public


class Store:
    """A folder with an archive that one of two keys has signed."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self.key, self.public = key_pair(folder, "ours")
        self.their_key, self.their_public = key_pair(folder, "theirs")
        (folder / "h.py").write_text("def handle(data, context):\n    return data\n")
        self.mar = self.pack(folder, "m", "--sign", str(self.key))

    def pack(self, folder: Path, name: str, *more: str) -> Path:
        flags = ["--model-name", name, "-v", "1.0", "--handler", str(folder / "h.py"), "--export-path", str(folder)]
        result = CliRunner().invoke(main, [*flags, *more])
        assert result.exit_code == 0, result.output
        return folder / f"{name}.mar"

    def open(self, path: Path, *signers: Path) -> None:
        open_archive(path, self.work, signers=signers).remove()

    def unpacked(self) -> list[Path]:
        return [*self.work.glob("*")]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signed")
    Store(folder)
    return folder


@pytest.fixture
def store(shared: Path, tmp_path: Path) -> Store:
    folder = tmp_path / "store"
    shutil.copytree(shared, folder)
    made = Store.__new__(Store)
    made.work, made.mar = folder / "work", folder / "m.mar"
    made.key, made.public = folder / "ours.key", folder / "ours.pub"
    made.their_key, made.their_public = folder / "theirs.key", folder / "theirs.pub"
    return made


def test_what_one_of_the_signers_has_signed_is_opened_under_any_name(store: Store) -> None:
    store.open(store.mar, store.public)
    store.open(store.mar, store.their_public, store.public)
    moved = store.mar.rename(store.mar.with_name("other.mar"))
    store.mar.with_name("m.mar.sig").rename(store.mar.with_name("other.mar.sig"))
    store.open(moved, store.public)
    assert store.unpacked() == []


def unsigned(store: Store) -> None:
    store.mar.with_name("m.mar.sig").unlink()


def of_another_key(store: Store) -> None:
    sign(store.mar, store.their_key)


def of_something_else(store: Store) -> None:
    other = store.mar.with_name("n.mar")
    other.write_bytes(b"something else")
    sign(other, store.key).rename(store.mar.with_name("m.mar.sig"))


def changed_by_a_byte(store: Store) -> None:
    data = bytearray(store.mar.read_bytes())
    data[-1] ^= 1
    store.mar.write_bytes(data)


def broken(store: Store) -> None:
    store.mar.with_name("m.mar.sig").write_text("{")


def deep(store: Store) -> None:
    store.mar.with_name("m.mar.sig").write_text("[" * 500_000)


def empty_object(store: Store) -> None:
    store.mar.with_name("m.mar.sig").write_text('{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}')


def endless(store: Store) -> None:
    store.mar.with_name("m.mar.sig").write_bytes(bytes((1 << 20) + 1))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (unsigned, "m.mar: it is not signed: m.mar.sig is not beside it"),
        (of_another_key, "is not this archive's signature by one of the 1 required_signers"),
        (of_something_else, "Signature mismatch"),
        (changed_by_a_byte, "Signature mismatch"),
        (broken, "is not this archive's signature"),
        (deep, "is not this archive's signature"),
        (empty_object, "is not this archive's signature"),
        (endless, "has 1048577 bytes, and a signature at most 1048576"),
    ],
)
def test_anything_else_is_refused_before_it_is_unpacked(store: Store, harm: Callable[[Store], None], said: str) -> None:
    harm(store)
    with pytest.raises(InvalidArchive, match=said):
        store.open(store.mar, store.public)
    assert not store.work.exists(), "no folder to unpack to was made"


def test_what_changes_while_it_is_opened_is_refused(store: Store) -> None:
    sealed = Sealed(store.mar, [store.public])
    sealed.check()
    data = store.mar.read_bytes()
    replacement = store.mar.with_name("swap")
    replacement.write_bytes(data)
    replacement.rename(store.mar)
    with pytest.raises(InvalidArchive, match="changed while it was opened"):
        sealed.check()


def test_a_folder_is_refused_and_not_signed(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InvalidArchive, match="a folder is not accepted"):
        store.open(tmp_path, store.public)
    folder = store.mar.parent
    flags = ["--model-name", "f", "-v", "1", "--handler", str(folder / "h.py"), "--archive-format", "no-archive"]
    result = CliRunner().invoke(main, [*flags, "--export-path", str(tmp_path), "--sign", str(store.key)])
    assert result.exit_code == 1
    assert "whose files may change behind its signature" in result.output


def test_a_workflows_archive_is_held_to_its_signature_too(store: Store) -> None:
    folder = store.mar.parent
    (folder / "spec.yaml").write_text("models: {m: {url: m.mar}}\ndag: {}\n")
    flags = ["--workflow-name", "w", "--spec-file", str(folder / "spec.yaml"), "--export-path", str(folder)]
    assert CliRunner().invoke(archive_workflow, [*flags, "--sign", str(store.key)]).exit_code == 0
    open_workflow(folder / "w.war", store.work, signers=[store.public]).remove()
    with pytest.raises(InvalidWorkflow, match="is not this archive's signature"):
        open_workflow(folder / "w.war", store.work, signers=[store.their_public])


def test_a_key_that_can_not_sign_is_told(store: Store) -> None:
    flags = ["--model-name", "m", "-v", "1", "--handler", str(store.mar.with_name("h.py")), "-f"]
    result = CliRunner().invoke(main, [*flags, "--export-path", str(store.mar.parent), "--sign", str(store.public)])
    assert result.exit_code == 1
    assert "ERROR - m.mar could not be signed with " in result.output


def test_signers_that_can_check_nothing_end_the_start(store: Store, tmp_path: Path) -> None:
    check_signers([])
    check_signers([store.public, store.their_public])
    for path, said in (
        (store.key, "holds no public key"),
        (tmp_path / "none", "can't be read"),
        (tmp_path, "can't be read"),
    ):
        with pytest.raises(InvalidConfig, match=said):
            check_signers([path])
