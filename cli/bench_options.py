"""The options of `torchserve bench`, each with benchmark-ab.py's name for it where there is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from ..core.container_limits import whole_cores
from .bench_protocol import check_protocol, protocol_options
from .completion import complete_models
from .infer_messages import TensorForm
from .loadgen.arrivals import recorded
from .loadgen.scenario import ENDLESS, Closed, Open
from .reference_answers import CHECKS
from .target import target_options

_BENCHMARK = "benchmark"  # the name under which benchmark-ab.py registers its model
_CONCURRENCY = 10  # benchmark-ab.py's default
_OPEN_MOST = 1024
_SPIKE = 10.0  # seconds at most
_POSITIVE = click.IntRange(1)


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """A frozen record of the command line. Each field has its option's name."""

    model: str
    version: str | None
    input: tuple[Path, ...]
    data: str | None
    content_type: str | None
    rate: float | None
    arrivals: str
    concurrency: int | None
    seconds: float
    requests: int | None
    slo_ms: float | None
    check: str
    header: tuple[tuple[str, str], ...]
    timeout: float
    warmup: float
    seed: int
    processes: int
    late_ms: float | None
    as_json: Path | None
    csv: Path | None
    inference: str | None
    path: str
    config_properties: Path | None
    report_location: Path | None
    url: str | None
    workers: int
    batch_size: int
    batch_delay: int
    management: str | None
    token: str | None
    key: str | None
    insecure: bool
    protocol: str
    channels: int
    tensor: TensorForm | None

    def load(self) -> Closed | Open:
        """Return an open loop if --rate was given, otherwise a closed loop.

        Raises click.UsageError if --arrivals names a trace file that can't be read.
        """
        if self.rate is None:
            return Closed(self.concurrency or _CONCURRENCY)
        if self.arrivals not in ENDLESS:
            try:
                next(recorded(Path(self.arrivals), self.rate))
            except (OSError, ValueError) as error:
                raise click.UsageError(f"--arrivals: poisson, bursty, spike, or a file of seconds: {error}") from None
        third = self.seconds / 3
        spike = (third, third + min(third, _SPIKE))
        return Open(self.rate, self.arrivals, self.concurrency or _OPEN_MOST, spike)


def read_bench_options(given: dict[str, Any]) -> BenchOptions:
    """Return the options as `click` parsed them, with MODEL and --path filled in.

    Raises click.UsageError for options that contradict one another.
    """
    model, path = given["model"], given["path"]
    if not given["input"] and given["data"] is None:
        raise click.UsageError("nothing to send: name a file or a folder with --input, or give --data TEXT")
    if given["arrivals"] == "spike" and given["slo_ms"] is None:
        raise click.UsageError("--arrivals spike is about the time until answers are in time again: give --slo-ms")
    if given["rate"] is None and given["arrivals"] != "poisson":
        raise click.UsageError("--arrivals is for an open loop: give its --rate")
    if model is None and given["url"] is None and path is None:
        raise click.UsageError("name the MODEL, or an archive to register with --url, or a --path")
    check_protocol(given)
    if model is None:
        model = _BENCHMARK if path is None else path.rstrip("/").rpartition("/")[2]
    if path is None:
        version = "" if given["version"] is None else f"/{quote(given['version'], safe='')}"
        path = f"predictions/{quote(model, safe='')}{version}"
    known: dict[str, Any] = {**given, "model": model, "path": "/" + path.lstrip("/")}
    return BenchOptions(**known)


def _header(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for value in values:
        name, colon, text = value.partition(":")
        if not colon or not name.strip() or not value.isprintable():
            raise click.BadParameter(f"{value!r} is not NAME: VALUE")
        pairs.append((name.strip(), text.strip()))
    return tuple(pairs)


def bench_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add all options of `torchserve bench`, benchmark-ab.py's names included, to a click command."""
    for option in reversed(
        (
            *_payload_options(),
            *protocol_options(),
            *_load_options(),
            *_run_options(),
            *_output_options(),
            *_ab_options(),
        )
    ):
        command = option(command)
    return target_options(command)


def _payload_options() -> tuple[Callable[..., Any], ...]:
    return (
        click.argument("model", required=False, shell_complete=complete_models),
        click.option(
            "--version", metavar="VERSION", help="Version of the model. Default: the model's default version."
        ),
        click.option(
            "-i",
            "--input",
            multiple=True,
            type=click.Path(exists=True, path_type=Path),
            help="A file to send, or a folder whose files are sent equally often. May be repeated.",
        ),
        click.option("--data", metavar="TEXT", help="A text to send in place of files."),
        click.option(
            "-ic",
            "--content-type",
            "--content_type",
            metavar="TYPE",
            help="Content type of the payloads. Default: by each file's name.",
        ),
        click.option(
            "--check",
            type=click.Choice(CHECKS),
            default="auto",
            show_default=True,
            help="How answers are checked. same: against the answer to the payload when it is sent alone; echo:"
            " against the payload; status: not at all; auto: same, or status if the model answers one payload"
            " in two ways.",
        ),
        click.option(
            "--header",
            multiple=True,
            metavar="'NAME: VALUE'",
            callback=_header,
            help="A header of each request. May be repeated.",
        ),
    )


def _load_options() -> tuple[Callable[..., Any], ...]:
    seconds = click.FloatRange(0, min_open=True)
    return (
        click.option(
            "--rate",
            type=seconds,
            help="Requests per second, sent on schedule however fast they are answered (open loop).",
        ),
        click.option(
            "--arrivals",
            metavar="KIND",
            default="poisson",
            show_default=True,
            help="The schedule of --rate: poisson, bursty (1.75 and 0.25 times the rate in turns of 0.4 s in the"
            " mean), spike (twice the rate for a third of the time, 10 s at most), or a file with one time in"
            " seconds per line, which is replayed at the rate.",
        ),
        click.option(
            "-c",
            "--concurrency",
            type=_POSITIVE,
            help="Connections that send a request when the last one is answered (closed loop). Default:"
            f" {_CONCURRENCY}. With --rate: the most connections that are opened, default {_OPEN_MOST}. By gRPC: calls"
            " in flight.",
        ),
    )


def _run_options() -> tuple[Callable[..., Any], ...]:
    seconds = click.FloatRange(0, min_open=True)
    return (
        click.option("--seconds", type=seconds, default=10.0, show_default=True, help="Seconds to measure."),
        click.option(
            "-r",
            "--requests",
            type=_POSITIVE,
            help="Requests to measure, however long they take, in place of --seconds.",
        ),
        click.option(
            "--slo-ms",
            type=seconds,
            help="Milliseconds within which an answer is in time. Goodput, the rate of such answers, is reported.",
        ),
        click.option("--timeout", type=seconds, default=30.0, show_default=True, help="Seconds to wait for an answer."),
        click.option(
            "--warmup",
            type=click.FloatRange(0),
            default=20.0,
            show_default=True,
            help="Longest warm-up in seconds. It ends when three seconds agree in rate and median to a tenth.",
        ),
        click.option(
            "--seed", type=int, default=1, show_default=True, help="Seed of the arrivals and of the payloads' order."
        ),
        click.option(
            "--processes",
            type=_POSITIVE,
            default=max(whole_cores() // 4, 1),
            show_default=True,
            help="Processes of the load generator.",
        ),
        click.option(
            "--late-ms",
            type=seconds,
            help="Milliseconds by which the generator may be late at p99 for a valid run. Default: a twentieth of"
            " --slo-ms, else 1.",
        ),
    )


def _output_options() -> tuple[Callable[..., Any], ...]:
    file = click.Path(dir_okay=False, path_type=Path)
    return (
        click.option("--json", "as_json", type=file, help="File to write all figures to, as JSON."),
        click.option("--csv", type=file, help="File to write benchmark-ab.py's columns to, and some more."),
        click.option(
            "--inference",
            metavar="ADDRESS",
            help="Inference address of the server, by gRPC its gRPC address, grpc://host:port. Default:"
            " $TS_INFERENCE_ADDRESS (REST), else as for --management.",
        ),
        click.option(
            "--key",
            metavar="KEY",
            help="Inference key of the server. Default: $TS_INFERENCE_TOKEN, else the one in the key file of the"
            " server that runs here.",
        ),
        click.option(
            "-imu",
            "--path",
            "--inference_model_url",
            "path",
            metavar="PATH",
            help="Path to send requests to, on any kind of server. Default: predictions/MODEL.",
        ),
    )


def _ab_options() -> tuple[Callable[..., Any], ...]:
    nothing: dict[str, Any] = {"hidden": True, "expose_value": False}
    return (
        click.option(
            "-cp",
            "--config_properties",
            "--config-properties",
            type=click.Path(exists=True, path_type=Path),
            help="config.properties to take the addresses from.",
        ),
        click.option(
            "-rl",
            "--report_location",
            "--report-location",
            type=click.Path(path_type=Path),
            help="Folder to write benchmark/ab_report.csv in.",
        ),
        click.option("-u", "--url", help=f"Archive to register for the run, as MODEL (default: {_BENCHMARK})."),
        click.option("-w", "--workers", type=_POSITIVE, default=1, show_default=True, help="Workers of --url."),
        click.option(
            "-bs",
            "--batch_size",
            "--batch-size",
            type=_POSITIVE,
            default=1,
            show_default=True,
            help="Batch size of --url.",
        ),
        click.option(
            "-bd",
            "--batch_delay",
            "--batch-delay",
            type=click.IntRange(0),
            default=200,
            show_default=True,
            help="Batch delay of --url in milliseconds.",
        ),
        click.option("-e", "--exec_env", type=click.Choice(["local"]), **nothing),
        click.option("-bb", "--benchmark_backend", **nothing),
        click.option("-td", "--tmp_dir", **nothing),
    )
