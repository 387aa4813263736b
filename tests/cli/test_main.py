"""The command line `torchserve`: TorchServe's flags and spellings, read without starting anything."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from torchserve.cli.main import main
from torchserve.core.interpreter_build import describe_interpreter
from torchserve.core.version import __version__


@pytest.mark.parametrize(
    ("arguments", "models"),
    [
        ("", ()),
        ("--models a.mar", ("a.mar",)),
        ("--models a.mar b=b.mar c", ("a.mar", "b=b.mar", "c")),
        ("--models a.mar --models b.mar", ("a.mar", "b.mar")),
        ("--models a.mar b.mar --start", ("a.mar", "b.mar")),
        ("--start --models all --ncs", ("all",)),
        ("--models", ()),
        ("--models --start", ()),
    ],
)
def test_several_models(arguments: str, models: tuple[str, ...]) -> None:
    assert main.make_context("torchserve", arguments.split()).params["models"] == models


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        ("", "starting", False),
        ("--start", "starting", True),
        ("--stop", "stopping", True),
        ("--foreground", "foreground", True),
        ("--ncs", "ncs", True),
        ("--no-config-snapshots", "ncs", True),
        ("--dt", "disable_token_auth", True),
        ("--disable-token-auth", "disable_token_auth", True),
        ("--enable-model-api", "enable_model_api", True),
        ("--allow-unauthenticated-model-api", "allow_unauthenticated_model_api", True),
        ("--ts-config c.properties", "ts_config", Path("c.properties")),
        ("--model-store s --workflow-store w --plugins-path p --cpp-log-config c", "model_store", Path("s")),
        ("--log-config l.xml --ppath p", "log_config", Path("l.xml")),
    ],
)
def test_flags(arguments: str, name: str, value: object) -> None:
    assert main.make_context("torchserve", arguments.split()).params[name] == value


@pytest.mark.parametrize("arguments", ["a.mar", "--models a --start b", "--nonsense", "--model-store"])
def test_what_is_no_command_line(arguments: str) -> None:
    assert CliRunner().invoke(main, arguments.split()).exit_code == 2


@pytest.mark.parametrize("flag", ["-v", "--version"])
def test_the_version(flag: str) -> None:
    result = CliRunner().invoke(main, [flag])
    assert (result.exit_code, result.output) == (0, f"TorchServe Version is {__version__}\n")
    result = CliRunner().invoke(main, [flag, "--start"])
    assert result.exit_code == 2
    assert "exclude one another" in result.output


@pytest.mark.parametrize("arguments", [["--version", "-v"], ["-vv"]])
def test_the_version_and_the_interpreter(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    assert result.output == (f"TorchServe Version is {__version__}\n{describe_interpreter()} ({sys.executable})\n")


@pytest.mark.parametrize("arguments", [["--start", "--stop"], ["--stop", "--start"], ["-v", "--stop"]])
def test_one_wish_at_a_time(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "exclude one another" in result.output


@pytest.mark.usefixtures("temp")
@pytest.mark.parametrize("arguments", [["--stop"], ["--stop", "--foreground"]])
def test_stopping_what_does_not_run(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.output) == (0, "TorchServe is not currently running.\n")
