"""The click group behind `torchserve`, which accepts TorchServe's flags and imports a subcommand only when it is
called.
"""

from __future__ import annotations

from importlib import import_module

import click

from .option_grammar import expand_prefixes

MODELS_FLAG = "--models"

# subcommand -> the module that holds it, as an attribute of the same name
SUBCOMMANDS = {
    "config": ".config",
    "models": ".models",
    "top": ".top",
    "profile": ".profile",
    "doctor": ".doctor",
    "llm": ".llm",
    "dev": ".dev",
    "lint": ".lint",
    "predict": ".predict",
    "bench": ".bench",
    "completion": ".completion",
}


def spread_models(args: list[str]) -> list[str]:
    """Repeat the flag `--models` before each of its values: `--models a.mar b=c.mar` becomes `--models a.mar --models
    b=c.mar`.

    All words between `--models` and the next flag are its values, as in TorchServe's command line.
    """
    spread: list[str] = []
    inside = False
    for word in args:
        if word.startswith("-"):
            inside = word == MODELS_FLAG
            if not inside:
                spread.append(word)
        elif inside:
            spread += [MODELS_FLAG, word]
        else:
            spread.append(word)
    return spread


class SeveralModels(click.Command):
    """A command whose `--models` takes several words, as TorchServe's does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread_models(expand_prefixes(args, self)))


class Commands(click.Group):
    """A group that runs a subcommand if the command line begins with one, and is TorchServe's own command otherwise."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        flags_first = bool(args) and args[0].startswith("-")
        return super().parse_args(ctx, spread_models(expand_prefixes(args, self)) if flags_first else args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*SUBCOMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in SUBCOMMANDS:
            return super().get_command(ctx, cmd_name)
        return getattr(import_module(SUBCOMMANDS[cmd_name], __package__), cmd_name)
