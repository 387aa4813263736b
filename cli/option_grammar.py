"""The option grammar of argparse, which TorchServe's commands have, on top of click's: shortened long options.

`--extra-file` is `--extra-files` as long as no other option begins like that. An exact name always wins; what fits
several options is refused with all of them named.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import click


def expand_prefixes(args: Sequence[str], command: click.Command) -> list[str]:
    """Return `args` with each shortened long option of `command` in full. Raises click.UsageError if one is ambiguous.

    Everything behind a lone `--` stays as it is.
    """
    names = [name for each in command.params if isinstance(each, click.Option) for name in each.opts]
    names += command.get_help_option_names(click.Context(command))
    expanded: list[str] = []
    for index, word in enumerate(args):
        if word == "--":
            return [*expanded, *args[index:]]
        expanded.append(_full(word, names) if word.startswith("--") else word)
    return expanded


def _full(word: str, names: Sequence[str]) -> str:
    given, equals, value = word.partition("=")
    if given in names:
        return word
    fitting = sorted({name for name in names if name.startswith(given)})
    if len(fitting) > 1:
        raise click.UsageError(f"ambiguous option: {given} could match {', '.join(fitting)}")
    return f"{fitting[0]}{equals}{value}" if fitting else word


class ArgparseCommand(click.Command):
    """A command that takes its long options shortened, as argparse does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, expand_prefixes(args, self))


def argument_parser(
    command: click.Command, *, renamed: Mapping[str, str] | None = None, several: Sequence[str] = ()
) -> argparse.ArgumentParser:
    """Return an argparse parser with the options of a click command.

    `renamed` maps a parameter's name to the attribute that its value gets; those in `several` take one or more words.
    """
    parser = argparse.ArgumentParser(prog=command.name, description=command.help)
    for option in command.params:
        if not isinstance(option, click.Option) or option.name is None:
            continue
        dest = (renamed or {}).get(option.name, option.name)
        if option.is_flag or option.count:
            parser.add_argument(*option.opts, dest=dest, action="store_true", help=option.help)
            continue
        choices = list(option.type.choices) if isinstance(option.type, click.Choice) else None
        default = None if option.multiple or not isinstance(option.default, str) else option.default
        many = {"nargs": "+"} if option.name in several else {}
        parser.add_argument(
            *option.opts,
            dest=dest,
            help=option.help,
            required=option.required,
            choices=choices,
            default=default,
            **many,
        )
    return parser
