"""Settings: all keys of `config.properties` in one table with type, default and meaning; frozen once read.

A field of Settings is a key; its metadata holds the parser, the documentation line and the other arguments of `_key`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..container_limits import whole_cores
from .address import Address
from .client_limits import ClientLimits
from .configured_models import ConfiguredModels
from .envelope_names import envelope_name
from .saved_models import SavedModels
from .value_parsers import (
    address,
    addresses,
    engine,
    flag,
    header,
    host,
    hosts,
    metrics_mode,
    minutes,
    one_of,
    otlp_endpoint,
    pairs,
    path,
    paths,
    pattern,
    patterns,
    payload_sink,
    redis_url,
    route,
    share,
    status,
    whole,
    words,
)

T = TypeVar("T")


def _key(
    default: T,
    parse: Callable[[str], T],
    doc: str,
    *,
    unit: str = "",
    env: str | None = "",
    secret: bool = False,
) -> Any:
    """Return a field for a key. `env` names the variable that overrides it: "" is `TS_` and the key in capitals, None
    is none.

    `unit` is the unit of a number; the value of a `secret` is never shown.
    """
    return field(default=default, metadata={"parse": parse, "doc": doc, "unit": unit, "env": env, "secret": secret})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The server's settings, by key. Times are in seconds, sizes in bytes, unless a key has another `unit`."""

    inference_address: Address = _key(
        Address("127.0.0.1", 8080), address(80), "where predictions are served; 0.0.0.0 is every address, of IPv6 too"
    )
    further_inference_addresses: tuple[Address, ...] = _key(
        (), addresses, "more addresses where predictions are served, by HTTP and gRPC; platforms add theirs"
    )
    management_address: Address = _key(Address("127.0.0.1", 8081), address(8081), "where models are managed")
    metrics_address: Address = _key(Address("127.0.0.1", 8082), address(8082), "where metrics are read")
    enable_dashboard: bool = _key(True, flag, "whether there are the dashboard, at management_address, and /docs")
    health_route: str | None = _key(
        None,
        route,
        "one more path of inference_address that answers as /ping does; Vertex AI's AIP_HEALTH_ROUTE is one",
    )
    predict_route: str | None = _key(
        None, route, "one more path that answers as /invocations does; Vertex AI's AIP_PREDICT_ROUTE is one"
    )
    platform: str = _key(
        "auto", one_of("auto", "none", "kserve", "sagemaker", "vertex"), "the platform whose ports and ways are"
        " followed; auto: what the environment's variables show"
    )  # fmt: skip
    enable_grpc: bool = _key(True, flag, "whether the two gRPC ports are opened")
    grpc_inference_address: str = _key("127.0.0.1", host, "the host where gRPC predictions are served")
    grpc_inference_port: int = _key(
        7070, whole(0, 65535), "the port of the same; that of inference_address serves both, if the hosts are equal"
    )
    grpc_management_address: str = _key("127.0.0.1", host, "the host where models are managed by gRPC")
    grpc_management_port: int = _key(7071, whole(0, 65535), "the port of the same")
    enable_grpc_ssl: bool = _key(False, flag, "TLS on the gRPC ports, with the certificate of https addresses")
    grpc_inference_max_connection_age_ms: int | None = _key(
        None, whole(1, 2**63 - 1), "how old a connection for gRPC predictions gets before its client is told to make a"
        " new one; default: no limit", unit="ms",
    )  # fmt: skip
    grpc_inference_max_connection_age_grace_ms: int | None = _key(
        None, whole(0, 2**63 - 1), "how long the calls of such a connection may still take; default: no limit",
        unit="ms",
    )  # fmt: skip
    grpc_management_max_connection_age_ms: int | None = _key(
        None, whole(1, 2**63 - 1), "the same for gRPC management", unit="ms"
    )
    grpc_management_max_connection_age_grace_ms: int | None = _key(
        None, whole(0, 2**63 - 1), "the same for gRPC management", unit="ms"
    )
    enable_metrics_api: bool = _key(True, flag, "whether metrics_address is opened")
    metrics_mode: str = _key(
        "log",
        metrics_mode,
        "log, legacy: write values to ts_metrics.log and model_metrics.log; prometheus: don't",
    )
    metrics_config: Path | None = _key(
        None, path, "YAML file that lists the metrics, as TorchServe's metrics.yaml; default: TorchServe's list"
    )
    model_metrics_auto_detect: bool = _key(False, flag, "take metrics of handlers that metrics_config does not list")
    disable_system_metrics: bool = _key(False, flag, "don't measure CPU, memory, disk and GPUs")
    metric_time_interval: int = _key(60, whole(1), "how often the machine is measured", unit="s", env=None)
    model_store: Path | None = _key(None, path, "the folder that holds the archives")
    workflow_store: Path | None = _key(None, path, "the folder that holds workflows' archives; default: model_store")
    load_models: tuple[str, ...] = _key((), words, "models loaded at start: `all`, or a list of [name=]archive")
    model_snapshot: SavedModels | None = _key(
        None, SavedModels.parse, "models brought back as a snapshot saved them; load_models is not used then", env=None
    )
    models: ConfiguredModels | None = _key(
        None, ConfiguredModels.parse, "how models are run, name -> version -> minWorkers, batchSize, ...", env=None
    )
    default_workers_per_model: int = _key(
        0, whole(0), "workers of a model loaded at start; 0: one a GPU, or one a CPU core where there is no GPU"
    )
    max_workers_per_model: int | None = _key(
        None,
        whole(1),
        "how many workers a model version may be given, however they are asked for; default: 8 for each CPU core,"
        " and 64 at least",
    )
    drain_delay: int = _key(
        0,
        whole(0, 3600),
        "how long new connections are still accepted after a stop began, while /health/ready and /ping say already that"
        " the server is going",
        unit="s",
    )
    drain_timeout: int = _key(
        25,
        whole(1, 3600),
        "how long accepted requests may take after a stop began; what has no answer then gets a 503. Choose some"
        " seconds less than whoever stops the server waits before it kills: Kubernetes 30, Docker 10",
        unit="s",
    )
    default_response_timeout: int = _key(120, whole(1), "how long a worker may take over a batch", unit="s")
    default_startup_timeout: int = _key(120, whole(1), "how long a worker may take to load its model", unit="s")
    unregister_model_timeout: int = _key(
        120, whole(1), "how long the workers of a removed model may take to end", unit="s"
    )
    max_pending_bytes: int = _key(
        2**31 - 1,
        whole(1, 2**63 - 1),
        "how much the bodies of all requests may take that arrive, wait or run, in all models; the rest is refused",
        unit="bytes",
    )
    max_unsent_bytes: int = _key(
        2**29,
        whole(1, 2**63 - 1),
        "how much all answers may take that their clients have not taken yet; beyond it connections that take nothing"
        " are ended first",
        unit="bytes",
    )
    http2_max_concurrent_streams: int = _key(
        256,
        whole(1, 100_000),
        "how many requests without a whole answer one HTTP/2 or gRPC connection may have; more are refused, and may be"
        " sent again",
        unit="requests",
    )
    job_queue_size: int = _key(100, whole(1), "how many may wait for a worker, per model version", unit="requests")
    ready_queue_limit: int = _key(
        0, whole(0, 100), "how full the job queue of a model may be before /health/ready says 503, so that load"
        " balancers prefer other replicas; 0: the queue doesn't count", unit="percent",
    )  # fmt: skip
    number_of_gpu: int | None = _key(None, whole(0), "use only this many of the visible GPUs; default: all of them")
    gpu_memory_headroom: int = _key(256, whole(0), "memory of each GPU that is promised to no worker", unit="MiB")
    gpu_check_interval: int = _key(5, whole(1), "how often the health and memory of the GPUs are looked at", unit="s")
    gpu_lease_folder: Path = _key(
        Path("/dev/shm/torchserve-gpu-leases"),  # noqa: S108 - shared by all servers of the host on purpose
        path,
        "where the servers of this host tell each other what GPU memory is promised; containers have to share it",
    )
    max_request_size: int = _key(6_553_500, whole(1), "the longest body of a request", unit="bytes")
    max_response_size: int = _key(6_553_500, whole(1), "the longest answer", unit="bytes")
    limit_max_image_pixels: bool = _key(True, flag, "keep Pillow's limit on the pixels of an image")
    decode_input_request: bool = _key(True, flag, "parse JSON and text bodies before the handler sees them")
    service_envelope: str | None = _key(
        None, envelope_name, "request envelope for all models: body, json, kserve or kservev2"
    )
    ts_open_inference_protocol: bool | None = _key(
        None, flag, "false: paths below /v2 are TorchServe's alone, and infer hands every body to the handler as it"
        " comes; default: the Open Inference Protocol is spoken there", env="TS_OPEN_INFERENCE_PROTOCOL",
    )  # fmt: skip
    open_inference_shared_memory: str = _key(
        "auto", one_of("auto", "true", "false"), "where clients on this machine may leave tensors in shared memory:"
        " auto: at inference addresses that no other machine can reach; true: at all of them; false: nowhere",
    )  # fmt: skip
    default_service_handler: str | None = _key(None, str.strip, "handler of an archive that names none")
    allowed_urls: tuple[str, ...] = _key(
        ("file://.*", "http(s)?://.*"),
        patterns,
        "regular expressions; an archive's URL must match one in full, an s3:// or gs:// one that isn't the default",
    )
    use_env_allowed_urls: bool = _key(
        False, flag, "let TS_ALLOWED_URLS override allowed_urls, if enable_envvars_config is true too", env=None
    )
    required_signers: tuple[Path, ...] = _key(
        (),
        paths,
        "PEM files with public keys: an archive that none of them has signed is refused before it is unpacked",
    )
    install_py_dep_per_model: bool = _key(
        False, flag, "install the requirements.txt of archives that have one, for their models alone"
    )
    package_folder: Path | None = _key(
        None, path, "where the packages of models are kept between starts; default: torchserve/packages in the user's"
        " cache folder"
    )  # fmt: skip
    blacklist_env_vars: str | None = _key(None, pattern, "regular expression of variables that workers don't see")
    disable_token_authorization: bool | None = _key(
        None, flag, "true: no tokens; false: tokens; default: tokens if inference or management can be reached from"
        " other machines"
    )  # fmt: skip
    token_expiration_min: float = _key(
        60.0, minutes, "how long an inference or management key is good for",
        unit="minutes", env="TS_TOKEN_EXPIRATION_TIME_MIN",
    )  # fmt: skip
    token_error_status: int = _key(
        400, status(400, 401), "HTTP status of a missing or wrong key: TorchServe's 400, or 401 with WWW-Authenticate"
    )
    certificate_file: Path | None = _key(None, path, "PEM file with the certificate, and its chain, of https addresses")
    private_key_file: Path | None = _key(None, path, "PEM file with the certificate's key, which is not encrypted")
    keystore: Path | None = _key(None, path, "PKCS12 file with certificate and key, in place of the two PEM files")
    keystore_pass: str = _key("changeit", str.strip, "password of the keystore", secret=True)
    keystore_type: str = _key("PKCS12", str.strip, "PKCS12 is the only one that can be read")
    cors_allowed_origin: str | None = _key(None, header, "Access-Control-Allow-Origin of every answer")
    cors_allowed_methods: str | None = _key(None, header, "Access-Control-Allow-Methods of every answer")
    cors_allowed_headers: str | None = _key(None, header, "Access-Control-Allow-Headers of every answer")
    allowed_hosts: tuple[str, ...] = _key(
        (), hosts, "names under which clients and proxies reach the server, beside its addresses and the machine's own"
        " names: name, name:port, *.domain, or * for all"
    )  # fmt: skip
    enable_model_api: bool | None = _key(
        None, flag, "true: models can be registered and removed; false: they can't; default: they can if"
        " management, HTTP and gRPC, is bound to loopback"
    )  # fmt: skip
    allow_unauthenticated_model_api: bool = _key(
        False, flag, "true: enable_model_api may be true beyond loopback without tokens, so that everybody who reaches"
        " management_address can run code on this machine"
    )  # fmt: skip
    engine: str = _key(
        "local", engine, "where workers run: local, as processes of this host; ray, on the nodes of the Ray cluster"
        " that this host belongs to, or that RAY_ADDRESS names; ray=ADDRESS, on those of another one"
    )  # fmt: skip
    engine_port: int = _key(
        0, whole(0, 65535), "the port where workers on other hosts connect to this server; 0: one that is free"
    )
    engine_encryption: bool = _key(
        True, flag, "whether connections of workers on other hosts are encrypted, and both ends show a key; false is"
        " for networks that nobody else is on"
    )  # fmt: skip
    initial_worker_port: int = _key(9000, whole(0), "the number of the first worker's name")
    python: str | None = _key(
        None, str.strip, "the interpreter that workers run in; default: the server's own", env=None
    )
    fork_workers: bool = _key(
        True, flag, "whether workers that import torch are forked from one process that has imported it already; false"
        " starts each on its own"
    )  # fmt: skip
    handler_errors_in_response: bool = _key(
        False, flag, "show clients what a handler raised, with its traceback: for development, since it tells about"
        " the code"
    )  # fmt: skip
    scheduling_headers: bool = _key(
        False, flag, "tell with each prediction's answer how it was scheduled, in headers x-torchserve-*"
    )
    fair_share_header: str = _key(
        "authorization", header, "header that names the client of a request: clients share language models, and all"
        " models if client_limits has weights, and have the limits of client_limits"
    )  # fmt: skip
    client_limits: ClientLimits | None = _key(
        None, ClientLimits.parse, "JSON with what each client may ask: client -> requestsPerSecond, burst, concurrent,"
        " tokensPerMinute, weight; `default` for each one that isn't listed, `others` for all of these together",
        secret=True,
    )  # fmt: skip
    cache_redis: str | None = _key(
        None, redis_url, "a Redis in which servers share the answers of models with a cache, such as"
        " redis://:password@host:6379/0, rediss:// with TLS, or unix://", secret=True,
    )  # fmt: skip
    cache_redis_timeout: int = _key(
        50, whole(1, 10_000), "the longest that a request waits for that Redis; then it is computed", unit="ms"
    )
    ts_header_key_sequence_id: str = _key(
        "ts_request_sequence_id", header, "header that names the sequence of a request to a stateful model",
        env="TS_HEADER_KEY_SEQUENCE_ID",
    )  # fmt: skip
    ts_header_key_sequence_start: str = _key(
        "ts_request_sequence_start", header, "header that says that a sequence begins with a request",
        env="TS_HEADER_KEY_SEQUENCE_START",
    )  # fmt: skip
    ts_header_key_sequence_end: str = _key(
        "ts_request_sequence_end", header, "header that says that a sequence ends with a request",
        env="TS_HEADER_KEY_SEQUENCE_END",
    )  # fmt: skip
    json_non_finite: str = _key(
        "null",
        one_of("null", "literal"),
        "what NaN and the infinities in a handler's JSON answer become: null, or the words NaN and Infinity, which"
        " TorchServe writes and strict parsers refuse",
    )
    log_format: str = _key("text", one_of("text", "json"), "a line of the logs: TorchServe's text, or a JSON object")
    otlp_traces_endpoint: str | None = _key(
        None, otlp_endpoint, "where the spans of recorded requests go: an OpenTelemetry collector at http://HOST:4318,"
        " https://, grpc://HOST:4317 or grpcs:// (extra `tracing`), or file:///PATH for lines of OTLP JSON; default:"
        " nothing is recorded",
    )  # fmt: skip
    otlp_traces_headers: str | None = _key(
        None, pairs, "headers for the collector, name=value separated by commas, as in OTEL_EXPORTER_OTLP_HEADERS",
        secret=True,
    )  # fmt: skip
    trace_sampling_rate: float = _key(
        1.0, share, "the part of the requests that is recorded, 0 to 1, of those whose client does not decide it by a"
        " traceparent",
    )  # fmt: skip
    payload_log: str | None = _key(
        None, payload_sink, "where sampled requests and answers go: http://HOST/PATH or https:// for KServe's"
        " CloudEvents, or file:///PATH for lines of JSON; default: nothing is sampled",
    )  # fmt: skip
    payload_log_headers: str | None = _key(
        None, pairs, "headers for an http payload_log, name=value separated by commas", secret=True
    )
    payload_log_sample_rate: float = _key(
        0.0, share, "the part of the requests that payload_log gets, 0 to 1, of models whose yaml doesn't say"
    )
    payload_log_max_body: int = _key(
        65_536,
        whole(0, 1 << 24),
        "the bytes of a body that payload_log gets, of models whose yaml doesn't say",
        unit="bytes",
    )
    enable_envvars_config: bool = _key(
        False, flag, "let environment variables override what is written here and on the command line", env=None
    )

    @property
    def tokens(self) -> bool:
        """Whether requests need a key."""
        if self.disable_token_authorization is not None:
            return not self.disable_token_authorization
        return not all(each.loopback for each in (*self.inference_addresses, *self.management_addresses))

    @property
    def grpc_inference(self) -> Address:
        """Where gRPC predictions are served."""
        return Address(self.grpc_inference_address, self.grpc_inference_port, self.enable_grpc_ssl)

    @property
    def grpc_management(self) -> Address:
        """Where models are managed by gRPC."""
        return Address(self.grpc_management_address, self.grpc_management_port, self.enable_grpc_ssl)

    @property
    def inference_addresses(self) -> tuple[Address, ...]:
        """All addresses where predictions are served."""
        http = (self.inference_address, *self.further_inference_addresses)
        return (*http, self.grpc_inference) if self.enable_grpc else http

    @property
    def management_addresses(self) -> tuple[Address, ...]:
        """All addresses where models are managed."""
        return (self.management_address, self.grpc_management) if self.enable_grpc else (self.management_address,)

    @property
    def management_loopback(self) -> bool:
        """Whether only this machine can manage models."""
        return all(each.loopback for each in self.management_addresses)

    @property
    def most_workers(self) -> int:
        """The most workers of a model version, by default 64, or 8 per core if those are more."""
        return self.max_workers_per_model or max(64, 8 * whole_cores())

    @property
    def model_api(self) -> bool:
        """Whether models can be registered and removed over HTTP and gRPC."""
        return self.management_loopback if self.enable_model_api is None else self.enable_model_api
