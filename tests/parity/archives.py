"""The archives of the comparison, packed byte by byte the same for both servers."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from . import author, handlers

_ONE = "minWorkers: 1\nmaxWorkers: 1\n"


@dataclass(frozen=True)
class Archive:
    handler: str
    config: str = ""
    model: str = ""
    version: str = "1.0"
    manifest: bool = True
    form: str = "zip"
    declared: str = "handler.py"


ARCHIVES: dict[str, Archive] = {
    "probe.mar": Archive(handlers.PROBE, _ONE, "probe"),
    "probe2.mar": Archive(handlers.PROBE, _ONE, "probe", "2.0"),
    "author.mar": Archive(author.AUTHOR, _ONE, "author"),
    "pair.mar": Archive(handlers.PROBE, _ONE + "batchSize: 2\nmaxBatchDelay: 300\nbatchPolicy: fixed\n", "pair"),
    "tight.mar": Archive(handlers.PROBE, _ONE + "jobQueueSize: 1\n", "tight"),
    "strict.mar": Archive(handlers.PROBE, _ONE + "responseTimeout: 1\n", "strict"),
    "ticket.mar": Archive(handlers.PROBE, _ONE + "useJobTicket: true\n", "ticket"),
    "hasty.mar": Archive(handlers.PROBE, _ONE + "clientTimeoutInMills: 200\n", "hasty"),
    "echo.mar": Archive(handlers.ECHO, "", "echo"),
    "echo2.mar": Archive(handlers.ECHO, "", "echo", "2.0"),
    "other.mar": Archive(handlers.ECHO, "", "other"),
    "describes.mar": Archive(handlers.DESCRIBES, "", "describes"),
    "broken.mar": Archive(handlers.BROKEN, "", "broken"),
    "slow.mar": Archive(handlers.LOADS_SLOWLY, "", "slow"),
    "classes.mar": Archive(handlers.TWO_CLASSES, "", "classes"),
    "meters.mar": Archive(handlers.METERS, _ONE, "meters"),
    "configured.mar": Archive(
        handlers.ECHO,
        "minWorkers: 1\nmaxWorkers: 2\nbatchSize: 3\nmaxBatchDelay: 7\nresponseTimeout: 11\nstartupTimeout: 23\n"
        "maxRetryTimeoutInSec: 17\nclientTimeoutInMills: 5000\njobQueueSize: 9\nmine: {depth: 2}\n",
        "configured",
    ),
    "said.mar": Archive(handlers.SAID, "", "said"),
    "four.mar": Archive(handlers.ECHO, "batchSize: 4\n", "four"),
    "nameless.mar": Archive(handlers.ECHO, manifest=False),
    "handless.mar": Archive(handlers.ECHO, "", "handless", declared="nowhere.py"),
    "runtime.mar": Archive(handlers.ECHO, "", "runtime", declared="handler.py"),
    "packed.tar.gz": Archive(handlers.ECHO, "", "packed", form="tar"),
    "folder": Archive(handlers.ECHO, "", "folder", form="folder"),
}  # fmt: skip
JUNK = b"this is no archive"


def contents(archive: Archive) -> dict[str, str]:
    """The files inside, by path."""
    files = {"handler.py": archive.handler}
    model = {"modelName": archive.model, "modelVersion": archive.version, "handler": archive.declared}
    if archive.config:
        files["model-config.yaml"] = archive.config
        model["configFile"] = "model-config.yaml"
    if archive.manifest:
        manifest = {
            "createdOn": "01/01/2026 00:00:00",
            "runtime": "python",
            "model": model,
            "archiverVersion": "0.12.0",
        }
        files["MAR-INF/MANIFEST.json"] = json.dumps(manifest, indent=2)
    return files


def pack(name: str, store: Path) -> None:
    """Put an archive into a store."""
    archive = ARCHIVES[name]
    if archive.form == "folder":
        for path, text in contents(archive).items():
            (store / name / path).parent.mkdir(parents=True, exist_ok=True)
            (store / name / path).write_text(text)
    elif archive.form == "tar":
        with tarfile.open(store / name, "w:gz") as tar:
            for path, text in contents(archive).items():
                entry = tarfile.TarInfo(f"{archive.model}/{path}")
                entry.size = len(text.encode())
                tar.addfile(entry, io.BytesIO(text.encode()))
    else:
        with zipfile.ZipFile(store / name, "w", zipfile.ZIP_DEFLATED) as archive_file:
            for path, text in contents(archive).items():
                archive_file.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), text)
