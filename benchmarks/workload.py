"""The workloads: an archive that all servers get, the bodies that are sent, and the expected answers."""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import random
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from PIL import Image
from torchserve.cli.loadgen.checks import same
from torchserve.cli.loadgen.payload import read_payloads

from .config_override import override_config, read_config
from .photo import jpeg

ROOT = Path(__file__).resolve().parent.parent
ECHO = ROOT / "benchmarks" / "workloads" / "echo"
CALLS = ROOT / "benchmarks" / "workloads" / "calls"
SIZED_HANDLER = ROOT / "benchmarks" / "workloads" / "sized"
DIGITS = ROOT / "examples" / "digits"
IMAGENET = ROOT / "examples" / "imagenet"
SENTENCES = ROOT / "examples" / "sentences"
LARGE = "imagenet1080p"
APPROXIMATE = "imagenet1080p_approximate"
_OFF = 0.05  # by how much the probability of the best class may differ, where pictures are decoded approximately
_IMAGES = (".png", ".jpg", ".jpeg")
_WORDS = (
    "the of and a to in is was it for on with he as be at by that from not are but had which or an were she their one "
    "time year people way day man thing woman life child world school state family student group country problem hand "
    "part place case week company system program question work government number night point home water room mother"
).split()


class UnavailableError(Exception):
    """An error for a workload that can't run here. The message says what is missing."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload.

    `bodies(n)` returns n bodies for the check before a measurement. `expected` returns the correct answer to a body; it
    is None if all answers are compared with the first server's, and `same` compares two. `batch` and `delay_ms` are the
    archive's options, for servers of other kinds. `ragged` are bodies that wrk sends in turn; without them it sends
    `body` only.
    """

    name: str
    archive: Path
    body: bytes
    content_type: str
    bodies: Callable[[int], list[bytes]]
    expected: Callable[[bytes], bytes] | None = None
    batch: int = 1
    delay_ms: int = 0
    ragged: tuple[bytes, ...] = ()
    same: Callable[[bytes, bytes], bool] = same


ECHOES = {"echo": 19, "echo100k": 100_000, "echo1m": 1_000_000}  # name -> bytes of a body


def echo(archiver: Path, into: Path, name: str = "echo") -> Workload:
    """Return the echo workload: JSON that comes back. Batch 32, delay 1 ms, one worker, no torch in the handler."""
    archive = _archived(archiver, into, name, ECHO)
    padding = b"x" * (ECHOES[name] - ECHOES["echo"])
    return Workload(
        name,
        archive,
        b'"the quick red fox' + padding + b'"',
        "application/octet-stream",
        bodies=lambda n: [b'"request %09d' % i + padding + b'"' for i in range(n)],
        expected=bytes,
        batch=32,
        delay_ms=1,
    )


SIZED = {  # name -> bytes of a request, and of its answer
    "upload100k": (100_000, 19),
    "upload1m": (1_000_000, 19),
    "download100k": (19, 100_000),
    "download1m": (19, 1_000_000),
}


def sized(archiver: Path, into: Path, name: str) -> Workload:
    """Return a workload of large requests with small answers, or of small requests with large answers.

    The options of its archive are those of `echo`.
    """
    archive = _archived(archiver, into, name, SIZED_HANDLER)
    asked, answered = SIZED[name]
    padding, more = b"x" * (asked - 19), b"x" * (answered - 19)

    def body(number: int) -> bytes:
        return b"%08d request %02d" % (answered, number % 100) + padding

    return _asking(
        Workload(
            name,
            archive,
            body(0),
            "application/octet-stream",
            bodies=lambda n: [body(number) for number in range(n)],
            expected=lambda sent: sent[:19] + more,
        )
    )


def calls(archiver: Path, into: Path) -> Workload:
    """Return the workload of benchmarks.grpc, with the options of `echo`: bytes that come back are one of its calls."""
    archive = _archived(archiver, into, "calls", CALLS)
    return _asking(
        Workload(
            "calls", archive, b"hello", "application/octet-stream", bodies=lambda n: [b"hello"] * n, expected=bytes
        )
    )


def _archived(archiver: Path, into: Path, name: str, source: Path) -> Path:
    command = [
        str(archiver), "--model-name", name, "--version", "1.0", "--export-path", str(into), "--force",
        "--handler", str(source / "handler.py"), "--config-file", str(source / "model-config.yaml"),
    ]  # fmt: skip
    return _packed(name, command, archiver, into)


def idle(archiver: Path, into: Path) -> Path:
    """Return an archive of echo's handler without options, so that it can be registered without workers."""
    handler = ("--handler", str(ECHO / "handler.py"))
    command = [str(archiver), "--model-name", "idle", "--version", "1.0", "--export-path", str(into), "-f", *handler]
    return _packed("idle", command, archiver, into)


def digits(archiver: Path, into: Path, image: Path | None) -> Workload:
    """Return the digits example, packed by its own pack.sh, and one of its images."""
    if not (DIGITS / "digits.pt").is_file() or not (DIGITS / "pack.sh").is_file():
        raise UnavailableError(f"{DIGITS.relative_to(ROOT)} has no digits.pt or no pack.sh")
    image = image or next((p for p in sorted(DIGITS.rglob("*")) if p.suffix in _IMAGES), None)
    if image is None or not image.is_file():
        raise UnavailableError(f"no image below {DIGITS.relative_to(ROOT)}: give --digits-image")
    archive = _packed("digits", ["sh", str(DIGITS / "pack.sh"), str(into)], archiver, into)
    body = image.read_bytes()
    return _asking(Workload("digits", archive, body, "application/octet-stream", bodies=lambda n: [body] * n))


def imagenet(archiver: Path, into: Path, name: str = "imagenet") -> Workload:
    """Return EfficientNet-Lite0 in the default image handler, packed by examples/imagenet, and a JPEG.

    Where the archive asks for `approximateResize`, servers that know it see other pixels than those that don't.
    """
    body = _cat() if name == "imagenet" else jpeg(1920, 1080)
    archive = _packed("imagenet", ["sh", str(IMAGENET / "pack.sh"), str(into)], archiver, into)
    made = _asking(Workload(name, archive, body, "image/jpeg", bodies=lambda n: [body] * n))
    if name != APPROXIMATE:
        return made
    approximate = override_config(archive, into / name, {"approximateResize": True})
    return replace(made, archive=approximate, same=same_best)


def same_best(answer: bytes, expected: bytes) -> bool:
    """Return whether two answers, probabilities by class with the best one first, agree in the best one and nearly in
    its probability.
    """
    try:
        (best, share), *_ = json.loads(answer).items()
        (other, another), *_ = json.loads(expected).items()
        return best == other and abs(share - another) <= _OFF
    except (ValueError, TypeError, AttributeError):  # no JSON, no classes, no numbers
        return False


def _cat() -> bytes:
    try:
        cat = next(file for file in distribution("scikit-image").files or () if file.name == "chelsea.png")
    except (PackageNotFoundError, StopIteration):
        raise UnavailableError("scikit-image has the picture, and is not installed: examples/packages.txt") from None
    made = io.BytesIO()
    Image.open(str(cat.locate())).convert("RGB").resize((500, 375)).save(made, "JPEG", quality=90)
    return made.getvalue()


def sentences(archiver: Path, into: Path) -> Workload:
    """Return MiniLM as examples/sentences packs it, and texts of very different lengths."""
    archive = _packed("sentences", ["sh", str(SENTENCES / "pack.sh"), str(into)], archiver, into)
    texts = tuple(json.dumps({"text": text}).encode() for text in ragged_texts())
    made = Workload("sentences", archive, texts[0], "application/json", bodies=lambda n: [texts[0]] * n)
    return _in_turn(_asking(made), texts)


def ragged_texts(count: int = 64) -> list[str]:
    """Return texts of 3 to 200 words, half of them with fewer than 20; the same for each call."""
    draw = random.Random(count)
    lengths = [min(max(round(draw.lognormvariate(math.log(20), 1)), 3), 200) for _ in range(count)]
    return [" ".join(draw.choices(_WORDS, k=length)) + "." for length in lengths]


def from_folder(workload: Workload, folder: Path) -> Workload:
    """Return the workload with the folder's files as its bodies. Raises UnavailableError unless they are of
    one type.
    """
    try:
        payloads = read_payloads([folder])
    except (OSError, ValueError) as error:
        raise UnavailableError(f"{folder}: {error}") from None
    if len(kinds := {payload.content_type for payload in payloads}) > 1:
        raise UnavailableError(f"{folder}: files of one type are needed, these are {', '.join(sorted(kinds))}")
    return _in_turn(replace(workload, content_type=kinds.pop()), tuple(payload.body for payload in payloads))


def _asking(workload: Workload) -> Workload:
    """Return the workload with the batch size and delay of its archive."""
    told = read_config(workload.archive)
    return replace(workload, batch=told["batchSize"], delay_ms=told["maxBatchDelay"])


def _in_turn(workload: Workload, bodies: tuple[bytes, ...]) -> Workload:
    return replace(
        workload, body=bodies[0], ragged=bodies, bodies=lambda n: list(itertools.islice(itertools.cycle(bodies), n))
    )


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
