"""Settings: every key of `config.properties` in one table with its type, default and meaning; frozen once read.

A field of Settings is a key; its metadata holds the parser and the documentation line.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InvalidConfig
from .address import Address, parse_address
from .properties import fill_in, read_properties

log = logging.getLogger(__name__)
T = TypeVar("T")


def _key(default: T, parse: Callable[[str], T], doc: str) -> Any:
    return field(default=default, metadata={"parse": parse, "doc": doc})


def _flag(text: str) -> bool:
    """As Java reads a boolean: anything but `true` is false."""
    return text.strip().lower() == "true"


def _whole(low: int, high: int = 2**31 - 1) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text.strip())
        except ValueError:
            raise ValueError(f'For input string: "{text}"') from None
        if not low <= value <= high:
            raise ValueError(f"{value} is outside {low} to {high}")
        return value

    return parse


def _path(text: str) -> Path:
    try:
        return Path(text.strip()).expanduser()
    except RuntimeError:
        raise ValueError("that user has no home folder") from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _pattern(text: str) -> str:
    try:
        re.compile(text.strip())
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    return text.strip()


def _patterns(text: str) -> tuple[str, ...]:
    return tuple(map(_pattern, _words(text)))


def _address(default_port: int) -> Callable[[str], Address]:
    return lambda text: parse_address(text, default_port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the server was told, by key. Times are seconds, sizes bytes."""

    inference_address: Address = _key(Address("127.0.0.1", 8080), _address(80), "where predictions are served")
    management_address: Address = _key(Address("127.0.0.1", 8081), _address(8081), "where models are managed")
    metrics_address: Address = _key(Address("127.0.0.1", 8082), _address(8082), "where metrics are read")
    model_store: Path | None = _key(None, _path, "the folder that holds the archives")
    load_models: tuple[str, ...] = _key((), _words, "models loaded at start: `all`, or a list of [name=]archive")
    default_workers_per_model: int = _key(
        0, _whole(0), "workers of a model loaded at start; 0: one a GPU, or one a CPU core where there is no GPU"
    )
    default_response_timeout: int = _key(120, _whole(1), "seconds a worker may take over a batch")
    default_startup_timeout: int = _key(120, _whole(1), "seconds a worker may take to load its model")
    unregister_model_timeout: int = _key(120, _whole(1), "seconds the workers of a removed model may take to end")
    job_queue_size: int = _key(100, _whole(1), "requests that may wait for a worker, per model version")
    number_of_gpu: int | None = _key(None, _whole(0), "use only this many of the visible GPUs")
    max_request_size: int = _key(6_553_500, _whole(1), "bytes of a request body")
    max_response_size: int = _key(6_553_500, _whole(1), "bytes of one answer")
    limit_max_image_pixels: bool = _key(True, _flag, "keep Pillow's limit on the pixels of an image")
    decode_input_request: bool = _key(True, _flag, "parse JSON and text bodies before the handler sees them")
    service_envelope: str | None = _key(None, str.strip, "request envelope for all models")
    default_service_handler: str | None = _key(None, str.strip, "handler of an archive that names none")
    allowed_urls: tuple[str, ...] = _key(
        ("file://.*", "http(s)?://.*"), _patterns, "regular expressions; an archive's URL must match one in full"
    )
    blacklist_env_vars: str | None = _key(None, _pattern, "regular expression of variables that workers don't see")
    disable_token_authorization: bool = _key(False, _flag, "serve beyond loopback without tokens")
    enable_model_api: bool = _key(False, _flag, "register and unregister over a listener beyond loopback")
    initial_worker_port: int = _key(9000, _whole(0), "the number of the first worker's name")
    python: str | None = _key(None, str.strip, "the interpreter that workers run in; default: the server's own")


# Keys of TorchServe that tune its JVM or its Netty and have no counterpart here: accepted, and named once in the log.
WITHOUT_EFFECT = frozenset(
    "vmargs number_of_netty_threads netty_client_threads prefer_direct_buffer use_native_io io_ratio async_logging "
    "plugins_path model_server_home debug cpp_log_config initial_distribution_port".split()
)
# Keys of TorchServe that this version does not act on yet; saying so beats silence.
NOT_YET = frozenset(
    "grpc_inference_address grpc_management_address grpc_inference_port grpc_management_port enable_grpc_ssl "
    "grpc_inference_max_connection_age_ms grpc_management_max_connection_age_ms workflow_store models model_snapshot "
    "grpc_inference_max_connection_age_grace_ms grpc_management_max_connection_age_grace_ms "
    "cors_allowed_origin cors_allowed_methods cors_allowed_headers keystore keystore_pass keystore_type "
    "certificate_file private_key_file use_env_allowed_urls install_py_dep_per_model enable_metrics_api metrics_mode "
    "metrics_config model_metrics_auto_detect metric_time_interval disable_system_metrics system_metrics_cmd "
    "enable_envvars_config token_expiration_min ts_open_inference_protocol ts_header_key_sequence_id "
    "ts_header_key_sequence_start ts_header_key_sequence_end ipex_enable ipex_gpu_enable cpu_launcher_enable "
    "cpu_launcher_args version tsConfigFile".split()
)


def find_config(given: Path | None) -> Path | None:
    """The properties file to read: TS_CONFIG_FILE, else the one given, else ./config.properties, else none."""
    from_environment = os.environ.get("TS_CONFIG_FILE")
    path = Path(from_environment) if from_environment else given
    if path is None:
        return Path("config.properties") if Path("config.properties").is_file() else None
    if not path.is_file():
        raise InvalidConfig(f"--ts-config file not found: {path}")
    return path


def load_settings(path: Path | None) -> Settings:
    """Settings from a properties file, or the defaults. Raises InvalidConfig naming file, key and value."""
    if path is None:
        return Settings()
    return parse_settings(fill_in(read_properties(path), os.environ, str(path)), str(path))


def parse_settings(values: Mapping[str, str], source: str) -> Settings:
    """Settings from the text values of `source`; unknown keys are warned about with the nearest known one."""
    known = {entry.name: entry for entry in fields(Settings)}
    found: dict[str, Any] = {}
    for key, text in values.items():
        entry = known.get(key)
        if entry is None:
            _warn_unknown(key, source, known)
        elif not text.strip():
            continue
        else:
            try:
                found[key] = entry.metadata["parse"](text)
            except ValueError as error:
                raise InvalidConfig(f"Invalid configuration: {key}={text} in {source}: {error}") from None
    return replace(Settings(), **found)


def _warn_unknown(key: str, source: str, known: Mapping[str, object]) -> None:
    if key in WITHOUT_EFFECT:
        log.info("%s: %s has no effect here", source, key)
    elif key in NOT_YET:
        log.warning("%s: %s is not supported by this version and is ignored", source, key)
    else:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        log.warning("%s: unknown key %s is ignored%s", source, key, hint)
