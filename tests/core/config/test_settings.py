"""Settings: TorchServe's keys with TorchServe's meaning; what is wrong is named with its key, value and file."""

from __future__ import annotations

import warnings
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import javaproperties
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.config.address import Address
from torchserve.core.config.configuration import Configuration, Override, find_config, read_configuration
from torchserve.core.config.configured_models import ConfiguredModels
from torchserve.core.config.keys import HIDDEN, KEYS
from torchserve.core.config.settings import Settings
from torchserve.core.config.unserved_keys import NOT_YET, OF_IPEX, WITHOUT_EFFECT
from torchserve.core.errors import InvalidConfig

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
# And those that only this server has.
OURS = set(
    """
    enable_dashboard enable_grpc engine engine_encryption engine_port handler_errors_in_response allowed_hosts
    allow_unauthenticated_model_api scheduling_headers fair_share_header client_limits cache_redis cache_redis_timeout required_signers
    max_pending_bytes max_unsent_bytes http2_max_concurrent_streams open_inference_shared_memory drain_delay
    drain_timeout max_workers_per_model package_folder token_error_status json_non_finite log_format
    otlp_traces_endpoint otlp_traces_headers trace_sampling_rate gpu_check_interval gpu_lease_folder
    gpu_memory_headroom further_inference_addresses health_route predict_route platform
    ready_queue_limit fork_workers payload_log payload_log_headers payload_log_sample_rate payload_log_max_body
""".split()
)


def read(tmp_path: Path, text: str, *flags: Override, **environment: str) -> Configuration:
    path = tmp_path / "c.properties"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return read_configuration(path, flags, environment)


def said(found: Configuration) -> list[tuple[str, str]]:
    return [(finding.name, finding.message) for finding in found.findings]


def test_the_defaults_are_torchserves() -> None:
    settings = Settings()
    assert read_configuration(None, environment={}).check().settings == settings
    assert (settings.inference_address, settings.management_address, settings.metrics_address) == (
        Address("127.0.0.1", 8080), Address("127.0.0.1", 8081), Address("127.0.0.1", 8082),
    )  # fmt: skip
    assert (settings.default_response_timeout, settings.default_startup_timeout) == (120, 120)
    assert (settings.job_queue_size, settings.default_workers_per_model, settings.number_of_gpu) == (100, 0, None)
    assert settings.max_request_size == settings.max_response_size == 6_553_500
    assert settings.allowed_urls == ("file://.*", "http(s)?://.*")
    assert (settings.limit_max_image_pixels, settings.decode_input_request, settings.enable_model_api) == (
        True, True, None,
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
        ("disable_token_authorization", "no", False),
        ("token_expiration_min", "0.25", 0.25),
        ("token_error_status", " 401 ", 401),
        ("service_envelope", " json ", "json"),
        ("models", ' {"m": {}} ', ConfiguredModels('{"m": {}}', {})),
        ("allowed_urls", "https://a/.*,file:///b/.*", ("https://a/.*", "file:///b/.*")),
        ("json_non_finite", "literal", "literal"),
        (
            "allowed_hosts",
            "Models.example.com, a:81,*.svc , [::1]:9",
            ("models.example.com", "a:81", "*.svc", "[::1]:9"),
        ),
        ("allowed_hosts", "*", ("*",)),
        ("log_format", " JSON", "json"),
        ("blacklist_env_vars", "SECRET.*|KEY ", "SECRET.*|KEY"),
    ],
)
def test_values(tmp_path: Path, key: str, text: str, value: Any) -> None:
    assert getattr(read(tmp_path, f"{key}={text}").check().settings, key) == value


@pytest.mark.parametrize("key", KEYS)
def test_an_empty_value_is_the_default(tmp_path: Path, key: str) -> None:
    assert read(tmp_path, f"{key}= \t").check().settings == Settings()


@pytest.mark.parametrize(
    ("key", "text", "why"),
    [
        ("job_queue_size", "abc", 'For input string: "abc"'),
        ("job_queue_size", "1_000", 'For input string: "1_000"'),
        ("job_queue_size", "1.5", 'For input string: "1.5"'),
        ("job_queue_size", "0", "0 is outside 1 to 2147483647"),
        ("job_queue_size", "2147483648", "2147483648 is outside 1 to 2147483647"),
        ("number_of_gpu", "-1", "-1 is outside 0 to"),
        ("allowed_hosts", "https://a.example", "https://a.example is none of name, name:port, "),
        ("allowed_hosts", "a.example/x", "a.example/x is none of"),
        ("allowed_hosts", "ok,a.*", " is none of"),
        ("allowed_hosts", "*.", ". is none of"),
        ("allowed_hosts", "a:b", "a:b is none of"),
        ("allowed_hosts", "a b", "a b is none of"),
        ("token_expiration_min", "soon", 'For input string: "soon"'),
        ("token_expiration_min", "0", "0 is outside 0 to 52596000 minutes"),
        ("token_expiration_min", "-1", "-1 is outside 0 to"),
        ("token_expiration_min", "nan", "nan is outside 0 to"),
        ("token_expiration_min", "inf", "inf is outside 0 to"),
        ("cors_allowed_origin", "https://\xe9", "a header has printable ASCII characters only"),
        ("engine", "kubernetes", "it is one of local, ray and ray=ADDRESS"),
        ("engine", "ray=", "it is one of local, ray and ray=ADDRESS"),
        ("engine", "ray=--x y", "it is one of local, ray and ray=ADDRESS"),
        ("token_error_status", "403", "403 is none of 400, 401"),
        ("inference_address", "foo", "Invalid binding address: foo"),
        ("allowed_urls", "http://ok,(", r"'\(' is no regular expression"),
        ("json_non_finite", "NaN", "it is one of null, literal"),
        ("service_envelope", "kfserving", "one of body, json, kserve, kservev2; write kserve instead$"),
        ("service_envelope", "V2", "write kservev2 instead$"),
        ("service_envelope", "JSON", "write json instead$"),
        ("service_envelope", "mine", "'mine' is unknown: it is one of body, json, kserve, kservev2$"),
        ("log_format", "xml", "it is one of text, json"),
        ("blacklist_env_vars", "(", r"'\(' is no regular expression"),
        ("blacklist_env_vars", "a{99999999999}", "is no regular expression"),
        ("model_store", "~nobody-has-this-name/x", "that user has no home folder"),
    ],
)
def test_a_wrong_value_is_named_with_its_key_file_and_line(tmp_path: Path, key: str, text: str, why: str) -> None:
    found = read(tmp_path, f"# a comment\n\n{key}={text}")
    with pytest.raises(InvalidConfig, match=why) as caught:
        found.check()
    assert caught.value.message.startswith(f"Invalid configuration: {key}={text} in {tmp_path}/c.properties, line 3: ")


@pytest.mark.parametrize("key", TORCHSERVE)
def test_every_key_of_torchserve_is_known(tmp_path: Path, key: str) -> None:
    if key in KEYS:
        return
    found = read(tmp_path, f"{key}=1").check()
    assert found.settings == Settings()
    file = tmp_path / "c.properties"
    if key in WITHOUT_EFFECT:
        assert said(found) == [("note", f"{file}: without effect here: {key}")]
    elif key in OF_IPEX:
        ((level, text),) = said(found)
        assert level == "warning"
        assert f"not maintained any more: {key} ({file}, line 1). Instead, {key}: {OF_IPEX[key]}" in text
    else:
        assert said(found) == [("warning", f"{file}, line 1: {key} is ignored, this version has no {NOT_YET[key]} yet")]


def test_keys_without_effect_are_named_once_and_together(tmp_path: Path) -> None:
    found = read(tmp_path, "vmargs=-Xmx1g\nio_ratio=3\nvmargs=\n")
    assert said(found) == [("note", f"{tmp_path}/c.properties: without effect here: vmargs, io_ratio")]


def test_each_key_is_in_one_list_only_and_is_torchserves_or_named() -> None:
    assert sorted([*KEYS, *WITHOUT_EFFECT, *OF_IPEX, *NOT_YET]) == sorted([*TORCHSERVE, *OURS])
    assert all([*WITHOUT_EFFECT.values(), *OF_IPEX.values(), *NOT_YET.values()])


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("job_queue_sise", "; did you mean job_queue_size?"),
        ("number_of_netty_thread", "; did you mean number_of_netty_threads?"),
        ("zzz", ""),
    ],
)
def test_a_misspelt_key_is_told_the_nearest(tmp_path: Path, key: str, hint: str) -> None:
    found = read(tmp_path, f"\n{key}=1").check()
    assert said(found) == [("warning", f"{tmp_path}/c.properties, line 2: unknown key {key} is ignored{hint}")]


def test_every_key_is_documented_and_settings_are_frozen() -> None:
    assert all(key.doc for key in KEYS.values())
    with pytest.raises(FrozenInstanceError):
        Settings().python = "x"  # type: ignore[misc]


def test_from_a_file_with_a_variable(tmp_path: Path) -> None:
    text = "model_store=$$TEST_STORE$$/x\njob_queue_size=7\n"
    settings = read(tmp_path, text, TEST_STORE="/models").check().settings
    assert (settings.model_store, settings.job_queue_size) == (Path("/models/x"), 7)
    with pytest.raises(InvalidConfig, match=r"Invalid Environment Variable TEST_STORE in model_store of .*, line 1"):
        read(tmp_path, text).check()


ON = "enable_envvars_config=true\n"


def test_the_environment_beats_the_command_line_beats_the_file(tmp_path: Path) -> None:
    text = f"{ON}model_store=/f\njob_queue_size=1\nmax_request_size=1\n"
    flags = [Override("model_store", Path("/c"), "--model-store"), Override("load_models", ("a",), "--models")]
    found = read(tmp_path, text, *flags, TS_MODEL_STORE="/e", TS_JOB_QUEUE_SIZE="2").check()
    settings = found.settings
    assert (settings.model_store, settings.job_queue_size, settings.max_request_size) == (Path("/e"), 2, 1)
    keys = ["model_store", "load_models", "job_queue_size", "max_request_size", "python"]
    assert [(found.origin(key).kind, str(found.origin(key))) for key in keys] == [
        ("environment", "TS_MODEL_STORE"),
        ("command line", "--models"),
        ("environment", "TS_JOB_QUEUE_SIZE"),
        ("file", f"{tmp_path}/c.properties, line 4"),
        ("default", "default"),
    ]


@pytest.mark.parametrize(
    ("text", "variable", "why"),
    [
        ("", "TS_JOB_QUEUE_SIZE", "enable_envvars_config=true"),
        ("enable_envvars_config=false", "TS_JOB_QUEUE_SIZE", "enable_envvars_config=true"),
        ("use_env_allowed_urls=true", "TS_ALLOWED_URLS", "enable_envvars_config=true"),
        (ON, "TS_ALLOWED_URLS", "use_env_allowed_urls=true"),
    ],
)
def test_the_environment_is_used_only_where_the_file_says_so(
    tmp_path: Path, text: str, variable: str, why: str
) -> None:
    found = read(tmp_path, text, **{variable: "5"}).check()
    assert (found.settings.job_queue_size, found.settings.allowed_urls) == (100, Settings().allowed_urls)
    assert said(found) == [("warning", f"{variable} in the environment: not used, as no configuration file says {why}")]


def test_allowed_urls_of_the_environment(tmp_path: Path) -> None:
    found = read(tmp_path, f"{ON}use_env_allowed_urls=true\nallowed_urls=a", TS_ALLOWED_URLS="b,c")
    assert (found.settings.allowed_urls, said(found)) == (("b", "c"), [])


@pytest.mark.parametrize("key", ["use_env_allowed_urls", "enable_envvars_config", "python"])
def test_some_keys_are_the_files_alone(tmp_path: Path, key: str) -> None:
    assert KEYS[key].variable is None
    assert read(tmp_path, ON, **{f"TS_{key.upper()}": "x"}).origin(key).kind in {"default", "file"}


def test_only_the_value_that_counts_must_be_right(tmp_path: Path) -> None:
    found = read(tmp_path, f"{ON}job_queue_size=abc\n", TS_JOB_QUEUE_SIZE="5").check()
    assert found.settings.job_queue_size == 5
    wrong = f'job_queue_size=abc in {tmp_path}/c.properties, line 2: For input string: "abc"'
    assert said(found) == [("warning", f"{wrong}; TS_JOB_QUEUE_SIZE overrides it")]
    with pytest.raises(InvalidConfig, match=r"job_queue_size=x in TS_JOB_QUEUE_SIZE: For input"):
        read(tmp_path, f"{ON}job_queue_size=1\n", TS_JOB_QUEUE_SIZE="x").check()


def test_an_empty_variable_is_the_default(tmp_path: Path) -> None:
    found = read(tmp_path, f"{ON}job_queue_size=7\n", TS_JOB_QUEUE_SIZE="").check()
    assert (found.settings.job_queue_size, found.origin("job_queue_size").kind) == (100, "environment")


# Where TorchServe's variable is not TS_ and the key in capitals, and the keys that have none.
ODD = {
    "ts_open_inference_protocol": "TS_OPEN_INFERENCE_PROTOCOL",
    "token_expiration_min": "TS_TOKEN_EXPIRATION_TIME_MIN",
    "ts_header_key_sequence_id": "TS_HEADER_KEY_SEQUENCE_ID",
    "ts_header_key_sequence_start": "TS_HEADER_KEY_SEQUENCE_START",
    "ts_header_key_sequence_end": "TS_HEADER_KEY_SEQUENCE_END",
}
WITHOUT_VARIABLE = """
    metric_time_interval enable_envvars_config model_snapshot models system_metrics_cmd use_env_allowed_urls python
""".split()


@pytest.mark.parametrize("key", KEYS)
def test_the_variable_of_each_key_is_torchserves(key: str) -> None:
    expected = None if key in WITHOUT_VARIABLE else ODD.get(key, f"TS_{key.upper()}")
    assert KEYS[key].variable == expected


def test_a_variable_of_what_is_not_there_yet_is_named(tmp_path: Path) -> None:
    key = next(key for key in NOT_YET if key not in ODD)
    found = read(tmp_path, ON, **{f"TS_{key.upper()}": "1"})
    assert said(found) == [("warning", f"TS_{key.upper()}: {key} is ignored, this version has no {NOT_YET[key]} yet")]


def test_the_keys_of_intels_extension_are_one_warning(tmp_path: Path) -> None:
    text = f"{ON}\nipex_enable=true\nipex_gpu_enable=false\ncpu_launcher_enable=true\n"
    found = read(tmp_path, text, TS_CPU_LAUNCHER_ARGS="--use_logical_core")
    ((level, message),) = said(found)
    assert level == "warning"
    keys = ("ipex_enable", "cpu_launcher_enable", "cpu_launcher_args")
    assert message.endswith("Instead, " + "; ".join(f"{key}: {OF_IPEX[key]}" for key in keys))
    assert "cpu_launcher_args (TS_CPU_LAUNCHER_ARGS)" in message


def test_a_start_warns_of_urls_that_nobody_limits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(tmp_path, "allowed_urls=file://.*").tell()
    assert caplog.messages == []
    read(tmp_path, "job_queue_sise=1").tell()
    assert caplog.messages[0].startswith("allowed_urls is not limited")
    assert "unknown key job_queue_sise" in caplog.messages[1]


@pytest.mark.parametrize(("text", "warned"), [("true", 0), (" FALSE ", 0), ("", 0), ("yes", 1), ("1", 1)])
def test_what_is_no_boolean_counts_as_false_and_is_named(tmp_path: Path, text: str, warned: int) -> None:
    found = read(tmp_path, f"enable_envvars_config={text}")
    assert len(said(found)) == warned
    assert all("counts as false" in message and f"={text} in" in message for _, message in said(found))


def test_remarks_about_a_value_are_warnings(tmp_path: Path) -> None:
    found = read(tmp_path, 'models={"m": {"1": {"batchsize": 1}}}')
    file = tmp_path / "c.properties"
    text = "models: model m version 1: unknown key batchsize is ignored; did you mean batchSize?"
    assert said(found) == [("warning", f"{file}, line 1: {text}")]


def test_a_secret_is_never_shown() -> None:
    key = replace(KEYS["python"], secret=True)
    assert (key.shown("tell no one"), key.shown(None)) == (HIDDEN, "")


def test_which_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TS_CONFIG_FILE", raising=False)
    assert find_config(None) is None
    Path("config.properties").touch()
    Path("given.properties").touch()
    Path("env.properties").touch()
    assert find_config(None) == Path("config.properties")
    assert find_config(Path("given.properties")) == Path("given.properties")
    with pytest.raises(InvalidConfig, match=r"^--ts-config file not found: none$"):
        find_config(Path("none"))
    monkeypatch.setenv("TS_CONFIG_FILE", "env.properties")
    assert find_config(None) == find_config(Path("given.properties")) == Path("env.properties")
    monkeypatch.setenv("TS_CONFIG_FILE", "gone.properties")
    with pytest.raises(InvalidConfig, match=r"gone\.properties"):
        find_config(Path("given.properties"))


@given(st.dictionaries(st.sampled_from([*KEYS]), st.text(max_size=20)), st.booleans())
def test_any_text_is_a_setting_or_an_invalid_config(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, str], from_environment: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    text = ON if from_environment else javaproperties.dumps(values, timestamp=None)
    variables = {KEYS[key].variable or "X": value for key, value in values.items()} if from_environment else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # re has an opinion on odd patterns
        try:
            assert isinstance(read(folder, text, **variables).check().settings, Settings)
        except InvalidConfig as error:
            assert any(f"{key}=" in error.message or f" {key} of " in error.message for key in values)
