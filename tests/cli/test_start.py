"""`torchserve --start`: what the flags and the file come to, and what is refused before anything is started."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from torchserve.cli.main import main
from torchserve.cli.pidfile import PidFile
from torchserve.cli.start import StartFlags, _configuration, check, check_unused
from torchserve.core.config.address import Address
from torchserve.core.config.settings import Settings
from torchserve.core.errors import InvalidConfig

pytestmark = pytest.mark.usefixtures("temp")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, temp: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


def settings(
    config: Path | None = None, store: Path | None = None, models: tuple[str, ...] = (), *, log_config: Path | None = None,
    tokens_off: bool = False, api: bool = False,
) -> Settings:  # fmt: skip
    flags = StartFlags(
        ts_config=config, model_store=store, models=models, log_config=log_config, disable_token_auth=tokens_off,
        enable_model_api=api,
    )  # fmt: skip
    return _configuration(flags, None).settings


@pytest.mark.parametrize("models", [("a.mar,b=b.mar",), ("a.mar, b=b.mar,",), ("a.mar", "", "b=b.mar")])
def test_models_in_one_word(store: Path, models: tuple[str, ...]) -> None:
    assert settings(store=store, models=models).load_models == ("a.mar", "b=b.mar")


def test_flags_alone(store: Path) -> None:
    assert settings(store=store) == Settings(model_store=store)
    assert settings(store=store, models=("a.mar", "b=b.mar"), tokens_off=True, api=True) == Settings(
        model_store=store,
        load_models=("a.mar", "b=b.mar"),
        disable_token_authorization=True,
        enable_model_api=True,
    )


def test_a_file_and_flags_over_it(tmp_path: Path, store: Path) -> None:
    file = tmp_path / "c.properties"
    file.write_text("model_store=store\nload_models=x.mar\ndisable_token_authorization=true\nenable_model_api=true\n")
    from_file = settings(file)
    assert (from_file.model_store, from_file.load_models) == (Path("store"), ("x.mar",))
    assert (from_file.disable_token_authorization, from_file.enable_model_api) == (True, True)
    off = tmp_path / "off.properties"
    off.write_text("disable_token_authorization=false\nenable_model_api=false\n")
    assert (settings(off, store).tokens, settings(off, store).model_api) == (True, False)
    flags = settings(off, store, tokens_off=True, api=True)
    assert (flags.tokens, flags.model_api) == (False, True), "the command line wins"
    over = settings(file, tmp_path, ("y.mar",))
    assert (over.model_store, over.load_models) == (tmp_path, ("y.mar",))
    assert (over.disable_token_authorization, over.enable_model_api) == (True, True), "flags only switch on"


def test_what_anybody_could_run_code_with_has_to_be_said_twice(tmp_path: Path, store: Path) -> None:
    file = tmp_path / "open.properties"
    file.write_text("management_address=http://0.0.0.0:8081\n")
    with pytest.raises(InvalidConfig, match=r"lets everybody who can reach http://0\.0\.0\.0:8081 run code"):
        settings(file, store, tokens_off=True, api=True)
    flags = StartFlags(
        ts_config=file, model_store=store, disable_token_auth=True, enable_model_api=True,
        allow_unauthenticated_model_api=True,
    )  # fmt: skip
    configuration = _configuration(flags, None)
    assert configuration.settings.model_api
    assert configuration.kept().keys() & {"enable_model_api", "allow_unauthenticated_model_api"} == set()
    file.write_text("management_address=http://0.0.0.0:8081\nallow_unauthenticated_model_api=true\n")
    assert settings(file, store, tokens_off=True, api=True).model_api


def test_config_properties_of_the_working_folder(store: Path) -> None:
    Path("config.properties").write_text("job_queue_size=7\n")
    assert settings(store=store).job_queue_size == 7


def test_a_log_config_that_is_there(tmp_path: Path, store: Path) -> None:
    (tmp_path / "log.yaml").touch()
    assert settings(store=store, log_config=Path("log.yaml")).model_store == store
    with pytest.raises(InvalidConfig, match=f"^--log-config file not found: {tmp_path}/gone.yaml$"):
        settings(store=store, log_config=Path("gone.yaml"))


def test_a_server_that_runs_already(store: Path) -> None:
    held = PidFile()
    try:
        with pytest.raises(InvalidConfig, match=r"^TorchServe is already running, please use torchserve --stop"):
            settings(store=store)
    finally:
        held.remove()


@pytest.mark.parametrize(
    ("given", "store_flag", "text"),
    [
        ({"model_store": None}, False, "Missing mandatory parameter --model-store"),
        ({"model_store": Path("gone")}, True, "--model-store directory not found: gone"),
        ({"model_store": Path("gone")}, False, "model_store directory not found: gone"),
        ({"model_store": Path("a\0b")}, True, "--model-store directory not found: a\0b"),
    ],
)
def test_what_is_wrong_before_the_start(given: dict[str, Any], store_flag: bool, text: str) -> None:
    wrong = Settings(**({"model_store": Path("store")} | given))
    with pytest.raises(InvalidConfig) as caught:
        check(wrong, store_flag=store_flag)
    assert caught.value.message.startswith(text)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"inference_address": Address("0.0.0.0", 8080), "management_address": Address("::", 8081)},
    ],
)
def test_what_may_start(given: dict[str, Any]) -> None:
    check(Settings(model_store=Path("store"), **given), store_flag=True)


def test_a_start_in_the_background_is_told_why_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    monkeypatch.setenv("TORCHSERVE_REPORT_FD", str(writing))
    result = CliRunner().invoke(main, ["--start", "--model-store", "gone"])
    assert (result.exit_code, result.stderr) == (1, "--model-store directory not found: gone\n")
    with os.fdopen(reading, "rb") as pipe:
        assert json.loads(pipe.read()) == {"error": "--model-store directory not found: gone"}


def test_a_start_in_the_background_prints_where_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["torchserve", "--start", "--model-store", "gone"])
    monkeypatch.setenv("LOG_LOCATION", "elsewhere")
    result = CliRunner().invoke(main, ["--start", "--model-store", "store"])
    assert result.exit_code == 1  # the child goes by the command line
    assert "TorchServe did not start: --model-store directory not found: gone (log: " in result.stderr
    assert "/elsewhere/ts_log.log)" in result.stderr


def test_flags_without_effect_must_be_right_too(tmp_path: Path) -> None:
    check_unused(None, None)
    (tmp_path / "log.yaml").touch()
    check_unused(tmp_path, tmp_path / "log.yaml")
    with pytest.raises(InvalidConfig, match=f"^--workflow-store directory not found: {tmp_path}/nowhere$"):
        check_unused(tmp_path / "nowhere", None)
    with pytest.raises(InvalidConfig, match=f"^--cpp-log-config file not found: {tmp_path}/none.yaml$"):
        check_unused(None, tmp_path / "none.yaml")
