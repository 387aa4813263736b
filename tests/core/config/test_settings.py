"""Settings: TorchServe's keys with TorchServe's meaning; what is wrong is named with its key, value and file."""

from __future__ import annotations

import logging
import warnings
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.config.address import Address
from torchserve.core.config.settings import (
    NOT_YET,
    WITHOUT_EFFECT,
    Settings,
    find_config,
    load_settings,
    parse_settings,
)
from torchserve.core.errors import InvalidConfig

KEYS = [entry.name for entry in fields(Settings)]
# Every key that TorchServe 0.12 reads.
TORCHSERVE = """
    inference_address management_address metrics_address grpc_inference_address grpc_management_address
    grpc_inference_port grpc_management_port grpc_inference_max_connection_age_ms
    grpc_inference_max_connection_age_grace_ms grpc_management_max_connection_age_ms
    grpc_management_max_connection_age_grace_ms enable_grpc_ssl model_store workflow_store load_models models
    model_snapshot default_workers_per_model default_response_timeout default_startup_timeout unregister_model_timeout
    job_queue_size number_of_gpu number_of_netty_threads netty_client_threads async_logging decode_input_request
    max_request_size max_response_size limit_max_image_pixels prefer_direct_buffer blacklist_env_vars
    cors_allowed_origin cors_allowed_methods cors_allowed_headers keystore keystore_pass keystore_type certificate_file
    private_key_file allowed_urls use_env_allowed_urls install_py_dep_per_model enable_metrics_api metrics_mode
    metrics_config model_metrics_auto_detect metric_time_interval disable_system_metrics system_metrics_cmd
    enable_envvars_config disable_token_authorization token_expiration_min enable_model_api ts_open_inference_protocol
    ts_header_key_sequence_id ts_header_key_sequence_start ts_header_key_sequence_end ipex_enable ipex_gpu_enable
    cpu_launcher_enable cpu_launcher_args service_envelope default_service_handler model_server_home
    initial_worker_port initial_distribution_port cpp_log_config debug use_native_io io_ratio python vmargs
    plugins_path version tsConfigFile
""".split()


def parse(**values: str) -> Settings:
    return parse_settings(values, "the file")


def test_the_defaults_are_torchserves() -> None:
    settings = Settings()
    assert load_settings(None) == parse_settings({}, "") == settings
    assert (settings.inference_address, settings.management_address, settings.metrics_address) == (
        Address("127.0.0.1", 8080), Address("127.0.0.1", 8081), Address("127.0.0.1", 8082),
    )  # fmt: skip
    assert (settings.default_response_timeout, settings.default_startup_timeout) == (120, 120)
    assert (settings.job_queue_size, settings.default_workers_per_model, settings.number_of_gpu) == (100, 0, None)
    assert settings.max_request_size == settings.max_response_size == 6_553_500
    assert settings.allowed_urls == ("file://.*", "http(s)?://.*")
    assert (settings.limit_max_image_pixels, settings.decode_input_request, settings.enable_model_api) == (
        True, True, False,
    )  # fmt: skip
    assert (settings.initial_worker_port, settings.load_models, settings.model_store) == (9000, (), None)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("inference_address", "http://0.0.0.0", Address("0.0.0.0", 80)),
        ("management_address", "http://0.0.0.0", Address("0.0.0.0", 8081)),
        ("metrics_address", "http://0.0.0.0", Address("0.0.0.0", 8082)),
        ("metrics_address", "http://[::1]:1", Address("::1", 1)),
        ("model_store", " models ", Path("models")),
        ("model_store", "~/models", Path("~/models").expanduser()),
        ("load_models", "all", ("all",)),
        ("load_models", "a=a.mar, b.mar ,", ("a=a.mar", "b.mar")),
        ("default_workers_per_model", "0", 0),
        ("default_response_timeout", " 5 ", 5),
        ("number_of_gpu", "0", 0),
        ("max_request_size", "2147483647", 2**31 - 1),
        ("decode_input_request", "false", False),
        ("decode_input_request", "yes", False),
        ("enable_model_api", "TRUE", True),
        ("disable_token_authorization", " true ", True),
        ("service_envelope", " json ", "json"),
        ("allowed_urls", "https://a/.*,file:///b/.*", ("https://a/.*", "file:///b/.*")),
        ("blacklist_env_vars", "SECRET.*|KEY ", "SECRET.*|KEY"),
    ],
)
def test_values(key: str, text: str, value: Any) -> None:
    assert getattr(parse(**{key: text}), key) == value


@pytest.mark.parametrize("key", KEYS)
def test_an_empty_value_is_the_default(key: str) -> None:
    assert parse(**{key: " \t"}) == Settings()


@pytest.mark.parametrize(
    ("key", "text", "why"),
    [
        ("job_queue_size", "abc", 'For input string: "abc"'),
        ("job_queue_size", "1.5", 'For input string: "1.5"'),
        ("job_queue_size", "0", "0 is outside 1 to 2147483647"),
        ("job_queue_size", "2147483648", "2147483648 is outside 1 to 2147483647"),
        ("number_of_gpu", "-1", "-1 is outside 0 to"),
        ("inference_address", "foo", "Invalid binding address: foo"),
        ("metrics_address", "https://h:1", "https: addresses are not supported"),
        ("allowed_urls", "http://ok,(", r"'\(' is no regular expression"),
        ("blacklist_env_vars", "(", r"'\(' is no regular expression"),
        ("blacklist_env_vars", "a{99999999999}", "is no regular expression"),
        ("model_store", "~nobody-has-this-name/x", "that user has no home folder"),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_file(key: str, text: str, why: str) -> None:
    with pytest.raises(InvalidConfig, match=why) as caught:
        parse(**{key: text})
    assert caught.value.message.startswith(f"Invalid configuration: {key}={text} in the file: ")


@pytest.mark.parametrize("key", TORCHSERVE)
def test_every_key_of_torchserve_is_known(key: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        if key in KEYS:
            return
        assert parse(**{key: "1"}) == Settings()
    said = "has no effect here" if key in WITHOUT_EFFECT else "is not supported by this version and is ignored"
    assert [record.getMessage() for record in caplog.records] == [f"the file: {key} {said}"]
    assert caplog.records[0].levelno == (logging.INFO if key in WITHOUT_EFFECT else logging.WARNING)


def test_each_key_is_in_one_list_only_and_is_torchserves() -> None:
    assert len(KEYS) + len(WITHOUT_EFFECT) + len(NOT_YET) == len({*KEYS} | WITHOUT_EFFECT | NOT_YET)
    assert {*KEYS} | WITHOUT_EFFECT | NOT_YET == {*TORCHSERVE}


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("job_queue_sise", "unknown key job_queue_sise is ignored; did you mean job_queue_size?"),
        ("zzz", "unknown key zzz is ignored"),
    ],
)
def test_a_misspelt_key_is_told_the_nearest(key: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    parse(**{key: "1"})
    assert [record.getMessage() for record in caplog.records] == [f"the file: {said}"]


def test_every_key_is_documented_and_settings_are_frozen() -> None:
    assert all(entry.metadata["doc"] for entry in fields(Settings))
    with pytest.raises(FrozenInstanceError):
        Settings().python = "x"  # type: ignore[misc]


def test_from_a_file_with_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_STORE", "/models")
    (tmp_path / "c.properties").write_text("model_store=$$TEST_STORE$$/x\njob_queue_size=7\n")
    settings = load_settings(tmp_path / "c.properties")
    assert (settings.model_store, settings.job_queue_size) == (Path("/models/x"), 7)
    monkeypatch.delenv("TEST_STORE")
    with pytest.raises(InvalidConfig, match=r"Invalid Environment Variable TEST_STORE in .*c\.properties"):
        load_settings(tmp_path / "c.properties")


def test_which_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TS_CONFIG_FILE", raising=False)
    assert find_config(None) is None
    Path("config.properties").touch()
    Path("given.properties").touch()
    Path("env.properties").touch()
    assert find_config(None) == Path("config.properties")
    assert find_config(Path("given.properties")) == Path("given.properties")
    with pytest.raises(InvalidConfig, match="^--ts-config file not found: none$"):
        find_config(Path("none"))
    monkeypatch.setenv("TS_CONFIG_FILE", "env.properties")
    assert find_config(None) == find_config(Path("given.properties")) == Path("env.properties")
    monkeypatch.setenv("TS_CONFIG_FILE", "gone.properties")
    with pytest.raises(InvalidConfig, match=r"gone\.properties"):
        find_config(Path("given.properties"))


@given(st.dictionaries(st.sampled_from(KEYS), st.text(max_size=20)))
def test_any_text_is_a_setting_or_an_invalid_config(values: dict[str, str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # re has an opinion on odd patterns
        try:
            assert isinstance(parse_settings(values, "x"), Settings)
        except InvalidConfig as error:
            assert any(f"{key}=" in error.message for key in values)
