"""The command line: TorchServe's flags beside subcommands."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from torchserve.cli.commands import SUBCOMMANDS, Commands, spread_models
from torchserve.cli.main import main


@pytest.mark.parametrize(
    ("words", "spread"),
    [
        ("--start --models a b=c --ncs", "--start --models a --models b=c --ncs"),
        ("--models a --models b c", "--models a --models b --models c"),
        ("--models --ncs", "--ncs"),
        ("--models=a --ncs", "--models=a --ncs"),
        ("--model-store s", "--model-store s"),
    ],
)
def test_models_takes_all_words_up_to_the_next_flag(words: str, spread: str) -> None:
    assert spread_models(words.split()) == spread.split()


@given(st.lists(st.sampled_from(["--ncs", "--models", "a", "b"])))
def test_spreading_twice_changes_nothing_more(words: list[str]) -> None:
    assert spread_models(spread_models(words)) == spread_models(words)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("frobnicate", 2, "No such command 'frobnicate'"),
        ("--start config show", 2, "flags of a start or stop do not go with `config`"),
        ("--model-store x config show", 2, "flags of a start or stop do not go with `config`"),
        ("--no-such-flag", 2, "No such option"),
        ("--help", 0, "config "),
        ("config --help", 0, "show "),
    ],
)
def test_what_the_command_says(words: str, code: int, said: str) -> None:
    result = CliRunner().invoke(main, words.split())
    assert (result.exit_code, said in result.output) == (code, True), result.output


def test_a_word_after_models_is_a_model_and_no_subcommand() -> None:
    assert isinstance(main, Commands)
    with main.make_context("torchserve", ["--models", "a", "config"]) as context:
        assert context.params["models"] == ("a", "config")
        assert context.args == []


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_subcommand_is_there_with_a_line_of_help(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.get_short_help_str()


def test_a_start_does_not_import_what_only_subcommands_need() -> None:
    script = "import sys, torchserve.cli.main; print('rich' in sys.modules, 'torchserve.cli.config' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
