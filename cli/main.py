"""The command `torchserve`: TorchServe's flags, checked and turned into a start or a stop of the server.

Heavy modules are imported only when they are needed, so that --version and wrong flags are answered at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ..core.errors import ServeError
from ..core.version import __version__
from .commands import MODELS_FLAG, Commands
from .program import run


def _ignored(*names: str, **options: Any) -> Any:
    return click.option(*names, hidden=True, expose_value=False, **options)


@click.group(
    cls=Commands,
    invoke_without_command=True,
    subcommand_metavar="[COMMAND ...]",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "-v", "--version", "show_version", count=True,
    help="Print the version and leave; given twice (--version -v), also how this Python was built.",
)  # fmt: skip
@click.option("--start", "starting", is_flag=True, help="Start the model server (what happens without a flag too).")
@click.option(
    "--stop", "stopping", is_flag=True, help="Stop the running model server, once accepted requests are served."
)
@click.option("--foreground", is_flag=True, help="Stay in the foreground and log to the terminal as well.")
@click.option("--ts-config", type=click.Path(path_type=Path), help="The config.properties to use.")
@click.option("--model-store", type=click.Path(path_type=Path), help="The folder that archives are loaded from.")
@click.option(
    MODELS_FLAG,
    multiple=True,
    metavar="NAME=ARCHIVE ...",
    help="Models to load at start: [name=]archive, where archive is a file or folder in the model store, the path of a"
    " folder, or an http(s) URL; several of them; or `all`.",
)
@click.option(
    "--log-config",
    type=click.Path(path_type=Path),
    help="What is logged where: log4j2.xml, log4j's properties, or Python dictConfig (YAML, JSON).",
)
@click.option(
    "--ncs", "--no-config-snapshots", is_flag=True, help="Neither read nor write snapshots of the configuration."
)
@click.option("--disable-token-auth", "--dt", is_flag=True, help="No token authorization, wherever it listens.")
@click.option(
    "--enable-model-api", is_flag=True, help="Register and unregister models over a listener beyond loopback."
)
@click.option(
    "--allow-unauthenticated-model-api",
    is_flag=True,
    help="With --enable-model-api and --disable-token-auth beyond loopback: yes, everybody may run code.",
)
@click.option(
    "--engine", metavar="ENGINE", help="Where workers run: local, ray, or ray=ADDRESS: on the nodes of a Ray cluster."
)
@click.option(
    "--workflow-store",
    type=click.Path(path_type=Path),
    help="The folder of the workflows' archives; default: the model store.",
)
@click.option("--cpp-log-config", type=click.Path(path_type=Path), hidden=True)
@_ignored("--plugins-path", "--ppath")
@click.pass_context
def main(context: click.Context, show_version: int, starting: bool, stopping: bool, **flags: Any) -> None:
    """Serve PyTorch models over HTTP, with TorchServe's archives, handlers, commands and URLs."""
    if context.invoked_subcommand is not None:
        if show_version or starting or stopping or any(flags.values()):
            raise click.UsageError(f"flags of a start or stop do not go with `{context.invoked_subcommand}`")
        return
    if bool(show_version) + starting + stopping > 1:
        raise click.UsageError("--version, --start and --stop exclude one another")
    if show_version:
        click.echo(f"TorchServe Version is {__version__}")
        if show_version > 1:
            from ..core.interpreter_build import describe_interpreter

            click.echo(f"{describe_interpreter()} ({sys.executable})")
        return
    try:
        if stopping:
            from .stop import stop

            stop(foreground=flags["foreground"])
        else:
            from .start import StartFlags, start

            start(StartFlags(**flags))
    except ServeError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


if __name__ == "__main__":
    run()
