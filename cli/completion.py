"""The command `torchserve completion`, and the completion of model names from the running server."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, get_completion_class

_PROGRAM = "torchserve"
_WAIT = 1.0  # seconds to wait for the server at most: the user's shell is blocked meanwhile


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes torchserve's words in SHELL.

    \b
    bash:  eval "$(torchserve completion bash)"                      in ~/.bashrc
    zsh:   eval "$(torchserve completion zsh)"                       in ~/.zshrc, after compinit
    fish:  torchserve completion fish | source                       in ~/.config/fish/config.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    script = found(context.find_root().command, {}, _PROGRAM, f"_{_PROGRAM.upper()}_COMPLETE")
    # Not source(), which runs the local bash to check its version: the script may be for another machine.
    click.echo(script.source_template % script.source_vars())


def complete_models(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names, beginning with `incomplete`, of models on the server that the options so far select.

    Return no names if the server can't be asked: a completion must not print an error into the user's command line.
    """
    from .client import Client  # slow to import, and not needed to complete flags
    from .target import find_target

    given = context.params
    try:
        target = find_target(given.get("management"), given.get("token"), bool(given.get("insecure")))
        with Client(target, timeout=_WAIT) as client:
            names = [model["modelName"] for model in client.models()]
    except click.ClickException:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
