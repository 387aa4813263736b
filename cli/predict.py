"""The command `torchserve predict`, which runs a handler once, in the foreground, or asks a server that runs."""

from __future__ import annotations

import json
import mimetypes
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from ..core.archive.folder_archive import folder_archive
from ..core.archive.manifest import MANIFEST_PATH
from ..core.archive.reader import Archive, open_archive
from ..core.container_limits import whole_cores
from ..core.errors import ServeError
from ..core.user_folders import missing_identity
from .predict_remote import Remote, predict_remote

_TYPES = {".json": "application/json", ".txt": "text/plain"}


@click.command(context_settings={"max_content_width": 110})
@click.argument("model")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--content-type", help="Content type of every FILE. Default: by its ending, as a client would send it.")
@click.option(
    "--header", "headers", multiple=True, metavar="NAME=VALUE", help="A header of the requests. May be repeated."
)
@click.option("--explain", is_flag=True, help="Ask for explanations instead of predictions.")
@click.option("--handler", help="Another handler than the archive's: a file, file:function, or a built-in one.")
@click.option("--gpu", type=int, help="Number of the GPU that the handler runs on. Default: the CPU.")
@click.option("--pdb", "debug", is_flag=True, help="Open the debugger where an exception is raised.")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Folder to write the answers to."
)
@click.option("--url", help="A server that runs: http://, https://, grpc:// or grpcs://HOST:PORT, or unix:/PATH.")
@click.option(
    "--protocol", type=click.Choice(("torchserve", "oip")),
    help="With --url: TorchServe's protocol, which is the default, or the Open Inference Protocol, whose FILEs are"
    " requests in JSON.",
)  # fmt: skip
@click.option("--version", help="With --url: version of the model. Default: the model's default version.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="With --url: seconds to wait. Default: 60.")
@click.option("--insecure", is_flag=True, help="With --url: accept any certificate.")
def predict(
    model: str, files: tuple[Path, ...], content_type: str | None, headers: tuple[str, ...], explain: bool,
    handler: str | None, gpu: int | None, debug: bool, output: Path | None, url: str | None, protocol: str | None,
    version: str | None, timeout: float | None, insecure: bool,
) -> None:  # fmt: skip
    """Run the handler of MODEL once, on all FILEs as one batch, and print its answers; or ask a server for them.

    MODEL is an archive, a folder or a handler's .py file. The handler has the terminal: breakpoint() works, and what
    it prints is shown on standard error. The exit code is 0 if every FILE was answered.

    With --url, MODEL is the name of a model of that server, and each FILE is a request. Pieces of a streamed answer are
    printed as they come. The inference key, if the server wants one, is $TS_INFERENCE_TOKEN.

    \b
    torchserve predict cats.mar kitten.jpg
    torchserve predict --url http://127.0.0.1:8080 cats kitten.jpg
    torchserve predict --url grpc://127.0.0.1:7070 cats kitten.jpg
    torchserve predict --url grpc://127.0.0.1:7070 --protocol oip doubles request.json
    """
    asked = _headers(headers)
    if url is not None:
        _check({"--handler": handler, "--gpu": gpu, "--pdb": debug}, "runs a handler here, and --url asks a server")
        remote = Remote(
            url, model, version, oip=protocol == "oip", explain=explain, headers=asked, timeout=timeout or 60.0,
            insecure=insecure,
        )  # fmt: skip
        sys.exit(0 if predict_remote(remote, [(file, content_type or _type_of(file)) for file in files], output) else 1)
    _check(
        {"--protocol": protocol, "--version": version, "--timeout": timeout, "--insecure": insecure},
        "is about a server: give its --url",
    )
    chosen = _Chosen(handler, gpu, debug, output)
    sys.exit(_run(Path(model), files, content_type, asked | ({"explain": "True"} if explain else {}), chosen))


def _check(given: dict[str, object], why: str) -> None:
    for name, value in given.items():
        if value is not None and value is not False:
            raise click.UsageError(f"{name} {why}")


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The options of a run in the foreground."""

    handler: str | None
    gpu: int | None
    debug: bool
    output: Path | None


def _run(model: Path, files: tuple[Path, ...], content_type: str | None, asked: dict[str, str], chosen: _Chosen) -> int:
    """Run the handler in a process of its own and return the exit code."""
    handler, output = chosen.handler, chosen.output
    with tempfile.TemporaryDirectory(prefix="torchserve-predict-") as scratch:
        try:
            archive = open_model(model, Path(scratch), handler)
        except ServeError as error:
            click.echo(str(error), err=True)
            return 1
        if archive.manifest.requirements_file:
            click.echo(f"{archive.manifest.requirements_file} is not installed: what is here is used.", err=True)
        command = [sys.executable, "-P", "-m", "torchserve.core.backend.run_once", "--headers", json.dumps(asked)]
        command += ["--load", json.dumps(_load(archive, handler, len(files), chosen.gpu))]
        if chosen.debug:
            command.append("--pdb")
        if output is not None:
            command += ["--output", str(output.resolve())]
        command.append("--")
        for file in files:
            command += [content_type or _type_of(file), str(file.resolve())]
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the handler's process or its debugger
        try:
            # OpenMP counts the cores by affinity, and knows nothing of a container's quota.
            environment = {"OMP_NUM_THREADS": str(whole_cores()), **os.environ, **missing_identity(os.environ)}
            code = subprocess.run(command, env=environment, check=False).returncode
        finally:
            signal.signal(signal.SIGINT, before)
    if code < 0:
        click.echo(f"The handler's process was killed by {signal.Signals(-code).name}.", err=True)
    return code if code >= 0 else 1


def open_model(model: Path, scratch: Path, handler: str | None) -> Archive:
    """Return the archive at `model`, or one laid out in `scratch` from a folder or file without a manifest.

    Raises InvalidArchive.
    """
    if model.suffix == ".py" or (model.is_dir() and not (model / MANIFEST_PATH).is_file()):
        model = folder_archive(model, scratch, handler=handler).folder
    return open_archive(model, scratch)


def _headers(given: tuple[str, ...]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for each in given:
        name, is_there, value = each.partition("=")
        if not is_there:
            raise click.UsageError(f"--header is NAME=VALUE, not {each!r}")
        headers[name] = value
    return headers


def _load(archive: Archive, handler: str | None, batch_size: int, gpu: int | None) -> dict[str, object]:
    manifest = archive.manifest
    chosen = handler or manifest.handler
    if chosen is None:
        click.echo(f"{archive.source.name}: its manifest names no handler; name one with --handler", err=True)
        sys.exit(1)
    return {
        "model_name": manifest.model_name or archive.source.stem,
        "model_version": manifest.model_version,
        "model_dir": str(archive.model_dir),
        "handler": chosen,
        "batch_size": batch_size,
        "gpu_id": gpu,
    }


def _type_of(file: Path) -> str:
    kind = _TYPES.get(file.suffix.lower())
    return kind or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
