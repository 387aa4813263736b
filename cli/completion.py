"""`torchserve completion`: the script that teaches a shell the commands; and the models of the running server."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, get_completion_class

_PROGRAM = "torchserve"
_WAIT = 1.0  # seconds a shell waits for the names at most


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
    # Without source(), which would run the bash there is here: the script may be for another machine.
    click.echo(script.source_template % script.source_vars())


def complete_models(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The models of the server that the words so far name. Whatever goes wrong, there is nothing to complete."""
    from .client import Client  # late: a completion of flags needs no server
    from .target import find_target

    given = context.params
    try:
        target = find_target(given.get("management"), given.get("token"), bool(given.get("insecure")))
        with Client(target, timeout=_WAIT) as client:
            names = [model["modelName"] for model in client.models()]
    except click.ClickException:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
