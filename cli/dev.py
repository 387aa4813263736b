"""The command `torchserve dev`, which serves a folder or a handler's file and reloads its worker when a
file changes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import click

from ..core.archive.folder_archive import FolderArchive, folder_archive
from ..core.config.address import Address
from ..core.config.configuration import Configuration, Override, read_configuration
from ..core.errors import InvalidConfig, ServeError
from ..core.server import ModelServer
from .background import Reporter
from .file_watcher import FileStates, changed_files, file_states
from .pidfile import running_pid

log = logging.getLogger(__name__)

INTERVAL = 0.4  # seconds between two looks at the files; a change counts if the next look finds the same states
GRACE = 2.0  # seconds that a batch on an old worker may still take
# A worker that fails is not started again: the next change of a file is its next try.
_DEFAULTS: dict[str, object] = {"minWorkers": 1, "maxWorkers": 1, "maxRetryTimeoutInSec": 1}


@click.command(context_settings={"max_content_width": 110})
@click.argument("source", metavar="HANDLER_OR_FOLDER", type=click.Path(path_type=Path))
@click.option("--handler", help="The handler, if the folder does not say: a file, file:function, or a built-in one.")
@click.option(
    "--port", type=click.IntRange(0, 65533), default=8080, show_default=True,
    help="Port of the inference API. Management and metrics use the next two. 0: any free ports.",
)  # fmt: skip
@click.option("--ts-config", type=click.Path(path_type=Path), help="A config.properties. Default: none.")
def dev(source: Path, handler: str | None, port: int, ts_config: Path | None) -> None:
    """Serve HANDLER_OR_FOLDER without packing it, and load its worker anew when a file in it changes.

    A folder without a manifest: its handler is handler.py or the only file with an entry point, its weights the only
    .pt, .pth, .pt2, .onnx or .so file, its model's class is in model.py. model-config.yaml counts. What a handler
    raises is in the answers. Ctrl-C ends it.
    """
    with tempfile.TemporaryDirectory(prefix="torchserve-dev-") as scratch:
        folder = Path(scratch)
        # Outside of the watched folder, where each line would be a change.
        os.environ.setdefault("LOG_LOCATION", str(folder / "logs"))
        os.environ.setdefault("METRICS_LOCATION", str(folder / "logs"))
        try:
            watch = Watch(source, handler, folder / "store")
            if running_pid() is not None:  # a server holds the pid file of the usual temporary folder
                os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
            _run(_configuration(watch, port, ts_config), watch)
        except ServeError as error:
            click.echo(str(error), err=True)
            sys.exit(1)


def _run(configuration: Configuration, watch: Watch) -> None:
    from .serve import run  # slow to import

    run(configuration, None, None, Reporter(), watch.reload_on_change)


def _configuration(watch: Watch, port: int, ts_config: Path | None) -> Configuration:
    if ts_config is not None and not ts_config.is_file():
        raise InvalidConfig(f"--ts-config file not found: {ts_config.resolve()}")
    model = watch.model
    given = [
        Override("model_store", watch.store, "dev"),
        Override("load_models", (f"{model.name}={model.folder}",), "dev"),
        Override("handler_errors_in_response", value=True, flag="dev"),
    ]
    for offset, api in enumerate(("inference", "management", "metrics")):
        address = Address("127.0.0.1", port + offset if port else 0)
        given.append(Override(f"{api}_address", address, "--port"))
    for offset, api in enumerate(("inference", "management"), 3):
        given.append(Override(f"grpc_{api}_port", port + offset if port else 0, "--port"))
    return read_configuration(ts_config, given).check()


@dataclass(slots=True)
class Watch:
    """A model that is served from `source`, with the states of its files when it was last loaded.

    Raises InvalidArchive for a `source` that can't be served.
    """

    source: Path
    handler: str | None
    store: Path
    model: FolderArchive = field(init=False)
    _numbers: count[int] = field(default_factory=count)
    _seen: FileStates = field(init=False)

    def __post_init__(self) -> None:
        self.model = self._lay_out()
        self._seen = file_states(self.model.watched)

    def _lay_out(self) -> FolderArchive:
        into = self.store / str(next(self._numbers))
        into.mkdir(parents=True)
        return folder_archive(self.source, into, handler=self.handler, defaults=_DEFAULTS)

    async def reload_on_change(self, server: ModelServer) -> None:
        """Reload the model whenever its files change, until this coroutine is cancelled."""
        log.info("%s is served from %s; a change of its files loads it anew", self.model.name, self.model.watched)
        while True:
            changed = await self._next_change()
            log.info("%s changed: %s is loaded anew", ", ".join(changed[:5]), self.model.name)
            try:
                await self._reload(server, changed)
            except ServeError as error:
                log.error("%s", error)

    async def _next_change(self) -> list[str]:
        """Return the names of the files that have changed since the last load, once two looks in a row found the same
        states.

        An editor may write a file in several steps.
        """
        latest = self._seen
        while True:
            await asyncio.sleep(INTERVAL)
            now = await asyncio.to_thread(file_states, self.model.watched)
            if now == latest and (changed := changed_files(self._seen, now)):
                self._seen = now
                return changed
            latest = now

    async def _reload(self, server: ModelServer, changed: list[str]) -> None:
        """Start new workers, or register the model again if its options or the list of its files have changed."""
        if not self._needs_registering(changed):
            await server.controlplane.renew(self.model.name, GRACE)
            log.info("%s is loaded", self.model.name)
            return
        made = self._lay_out()  # if this raises, the old model is still served
        await server.controlplane.unregister(self.model.name, None)
        self.model = made
        await server.controlplane.load_at_startup(str(made.folder), made.name, 1)

    def _needs_registering(self, changed: list[str]) -> bool:
        """Return whether new workers are not enough: a file was added or removed at the top level, or the options were
        changed.
        """
        top = {name.partition(os.sep)[0] for name in changed}
        there = {entry.name for entry in self.model.folder.iterdir()}
        gone = {name for name in top if not (self.model.watched / name).exists()}
        configured = {"model-config.yaml", "MAR-INF", self.model.manifest.config_file}
        return bool(top & configured or top - there or gone)
