"""The command `torchserve doctor`, which collects what a report of a fault needs into one archive."""

from __future__ import annotations

import io
import os
import tarfile
import time
from pathlib import Path

import click

from .doctor_parts import Part, parts
from .target import find_target, target_options

MOST_PART = 4 << 20  # bytes of one file of the archive


@click.command(context_settings={"max_content_width": 110})
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE",
    help="The archive to write. Default: torchserve-doctor-DATE.tar.gz in the working folder.",
)  # fmt: skip
@click.option("--ts-config", type=click.Path(path_type=Path), help="The config.properties, as given to the start.")
@click.option(
    "--logs", type=click.Path(path_type=Path), metavar="FOLDER", help="The folder of the logs. Default: $LOG_LOCATION."
)
@target_options
def doctor(
    output: Path | None, ts_config: Path | None, logs: Path | None, management: str | None, token: str | None,
    insecure: bool,
) -> None:  # fmt: skip
    """Write versions, configuration, drivers, models with their last failures, metrics and the ends of the logs to an
    archive.

    Settings that are secret, the values of environment variables and keys are left out; log lines are as they are: look
    at them before you hand the archive on. What can't be had is named in the archive and is no failure.
    """
    file = output or Path(time.strftime("torchserve-doctor-%Y%m%d-%H%M%S.tar.gz"))
    found = parts(lambda: find_target(management, token, insecure), ts_config, logs)
    missing = _write(file, found)
    click.echo(f"{file}: {len(found)} files")
    for part in missing:
        click.echo(f"missing: {part.name}: {part.missing}", err=True)


def _write(file: Path, found: list[Part]) -> list[Part]:
    """Write the archive, which only its owner may read. Return the parts that are not there, which it names."""
    missing = [part for part in found if part.missing]
    said = "".join([f"{part.name}: {part.missing}\n" for part in missing])
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise click.ClickException(f"{file} can't be written: {error.strerror}") from None
    with open(descriptor, "wb") as target, tarfile.open(fileobj=target, mode="w:gz") as archive:  # noqa: PTH123
        for part in [*found, Part("missing.txt", said.encode())]:
            if not part.missing:
                _add(archive, part)
    return missing


def _add(archive: tarfile.TarFile, part: Part) -> None:
    data = part.data[-MOST_PART:]
    entry = tarfile.TarInfo(f"torchserve-doctor/{part.name}")
    entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
    archive.addfile(entry, io.BytesIO(data))
