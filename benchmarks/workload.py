"""What the servers are asked to do: the archive both get, the body that is sent, and the check of an answer."""

from __future__ import annotations

import io
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
ECHO = ROOT / "benchmarks" / "workloads" / "echo"
DIGITS = ROOT / "examples" / "digits"
IMAGENET = ROOT / "examples" / "imagenet"
_IMAGES = (".png", ".jpg", ".jpeg")


class UnavailableError(Exception):
    """A workload that can't run here; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Workload:
    """`bodies(n)` are n requests for the check before a measurement; `expected` is the right answer to a body.

    `expected` is None where the first server's answer is what all answers are held against. `handler` is the file of a
    handler that needs nothing of TorchServe, `batch` and `delay_ms` what the archive says: for servers of other kinds.
    """

    name: str
    archive: Path
    body: bytes
    content_type: str
    bodies: Callable[[int], list[bytes]]
    expected: Callable[[bytes], bytes] | None = None
    handler: Path | None = None
    batch: int = 1
    delay_ms: int = 0


ECHOES = {"echo": 19, "echo100k": 100_000, "echo1m": 1_000_000}  # bytes


def echo(archiver: Path, into: Path, name: str = "echo") -> Workload:
    """JSON that comes back, of 19 bytes and more; batch 32, delay 1 ms, one worker, no torch in the handler."""
    command = [
        str(archiver),
        "--model-name",
        name,
        "--version",
        "1.0",
        "--export-path",
        str(into),
        "--force",
        "--handler",
        str(ECHO / "handler.py"),
        "--config-file",
        str(ECHO / "model-config.yaml"),
    ]
    archive = _packed(name, command, archiver, into)
    padding = b"x" * (ECHOES[name] - ECHOES["echo"])
    return Workload(
        name,
        archive,
        b'"the quick red fox' + padding + b'"',
        "application/octet-stream",
        bodies=lambda n: [b'"request %09d' % i + padding + b'"' for i in range(n)],
        expected=bytes,
        handler=ECHO / "handler.py",
        batch=32,
        delay_ms=1,
    )


def idle(archiver: Path, into: Path) -> Path:
    """echo's handler in an archive that asks for no workers of its own."""
    handler = ("--handler", str(ECHO / "handler.py"))
    command = [str(archiver), "--model-name", "idle", "--version", "1.0", "--export-path", str(into), "-f", *handler]
    return _packed("idle", command, archiver, into)


def digits(archiver: Path, into: Path, image: Path | None) -> Workload:
    """The example's archive, packed as its own pack.sh does, and one of its images."""
    if not (DIGITS / "digits.pt").is_file() or not (DIGITS / "pack.sh").is_file():
        raise UnavailableError(f"{DIGITS.relative_to(ROOT)} has no digits.pt or no pack.sh")
    image = image or next((p for p in sorted(DIGITS.rglob("*")) if p.suffix in _IMAGES), None)
    if image is None or not image.is_file():
        raise UnavailableError(f"no image below {DIGITS.relative_to(ROOT)}: give --digits-image")
    archive = _packed("digits", ["sh", str(DIGITS / "pack.sh"), str(into)], archiver, into)
    body = image.read_bytes()
    return Workload("digits", archive, body, "application/octet-stream", bodies=lambda n: [body] * n)


def imagenet(archiver: Path, into: Path) -> Workload:
    """EfficientNet-Lite0 behind TorchServe's image handler, as examples/imagenet packs it, and a cat of 500 by 375."""
    try:
        cat = next(file for file in distribution("scikit-image").files or () if file.name == "chelsea.png")
    except (PackageNotFoundError, StopIteration):
        raise UnavailableError("scikit-image has the picture, and is not installed: examples/packages.txt") from None
    archive = _packed("imagenet", ["sh", str(IMAGENET / "pack.sh"), str(into)], archiver, into)
    made = io.BytesIO()
    Image.open(str(cat.locate())).convert("RGB").resize((500, 375)).save(made, "JPEG", quality=90)
    body = made.getvalue()
    return Workload("imagenet", archive, body, "image/jpeg", bodies=lambda n: [body] * n)


def _packed(name: str, command: list[str], archiver: Path, into: Path) -> Path:
    with tempfile.TemporaryDirectory(prefix="peers-archive-") as scratch:
        path = f"{archiver.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        environment = {**os.environ, "PATH": path, "TMPDIR": scratch}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, cwd=scratch, env=environment
        )
    if done.returncode != 0 or not (into / f"{name}.mar").is_file():
        raise UnavailableError(f"{command[0]} made no {name}.mar: {(done.stdout + done.stderr)[-500:]}")
    return into / f"{name}.mar"
