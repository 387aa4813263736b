"""Shortened long options, as argparse takes them."""

from __future__ import annotations

import click
import pytest

from torchserve.cli.archiver import main as archiver
from torchserve.cli.main import main as torchserve
from torchserve.cli.option_grammar import expand_prefixes


@pytest.mark.parametrize(
    ("command", "given", "expanded"),
    [
        (archiver, "--extra-file a,b", "--extra-files a,b"),
        (archiver, "--extra-file=a,b", "--extra-files=a,b"),
        (archiver, "--extra-files a,b", "--extra-files a,b"),
        (archiver, "--model-n m --hand h", "--model-name m --handler h"),
        (archiver, "--forc -v 1", "--force -v 1"),
        (archiver, "--hel", "--help"),
        (archiver, "--nothing", "--nothing"),
        (archiver, "-- --extra-file", "-- --extra-file"),
        (torchserve, "--no-config-snapshot", "--no-config-snapshots"),
        (torchserve, "--disable-token", "--disable-token-auth"),
        (torchserve, "--ts-conf c", "--ts-config c"),
        (torchserve, "--sta --for --model-s s", "--start --foreground --model-store s"),
        (torchserve, "--models a", "--models a"),
    ],
)
def test_a_prefix_is_the_only_option_that_begins_with_it(command: click.Command, given: str, expanded: str) -> None:
    assert expand_prefixes(given.split(), command) == expanded.split()


@pytest.mark.parametrize(("given", "named"), [("--st", "--start, --stop"), ("--model", "--model-store, --models")])
def test_a_prefix_of_several_is_refused_and_names_them(given: str, named: str) -> None:
    with pytest.raises(click.UsageError, match=f"ambiguous option: {given} could match {named}"):
        expand_prefixes([given], torchserve)
