"""The options of `torchserve bench`, each with benchmark-ab.py's name for it where there is one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from .completion import complete_models
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
    for option in reversed((*_what(), *_how(), *_where(), *_of_ab())):
        command = option(command)
    return target_options(command)


def _what() -> tuple[Callable[..., Any], ...]:
    return (
        click.argument("model", required=False, shell_complete=complete_models),
        click.option("--version", metavar="VERSION", help="Of the model. Default: the one that is served by default."),
        click.option(
            "-i", "--input", multiple=True, type=click.Path(exists=True, path_type=Path),
            help="A file to send, or a folder: each of its files is sent as often as any other. May be repeated.",
        ),
        click.option("--data", metavar="TEXT", help="The text to send, instead of files."),
        click.option(
            "-ic", "--content-type", "--content_type", metavar="TYPE", help="Default: by the file's name."
        ),
        click.option(
            "--check", type=click.Choice(CHECKS), default="auto", show_default=True,
            help="What an answer is held against: the payload's own answer when it is sent alone (same; auto, if the"
            " model gives equal ones), the payload (echo), nothing (status).",
        ),
        click.option(
            "--header", multiple=True, metavar="'NAME: VALUE'", callback=_header, help="Sent with each request."
        ),
    )  # fmt: skip


def _how() -> tuple[Callable[..., Any], ...]:
    seconds = click.FloatRange(0, min_open=True)
    return (
        click.option("--rate", type=seconds, help="Requests a second, however fast they are answered."),
        click.option(
            "--arrivals", metavar="KIND", default="poisson", show_default=True,
            help="Of --rate: poisson, bursty (turns of 1.75 and 0.25 times the rate, 0.4 s each), spike (twice the"
            " rate for a third of the time, 10 s at most), or a file with one time in seconds a line, replayed at the"
            " rate.",
        ),
        click.option(
            "-c", "--concurrency", type=_POSITIVE,
            help=f"Connections that ask and wait. Default: {_CONCURRENCY}. With --rate: the most that may be opened,"
            f" default {_OPEN_MOST}.",
        ),
        click.option("--seconds", type=seconds, default=10.0, show_default=True, help="To measure."),
        click.option("-r", "--requests", type=_POSITIVE, help="To measure, however long that takes."),
        click.option("--slo-ms", type=seconds, help="What is answered later counts as lost: goodput is reported."),
        click.option("--timeout", type=seconds, default=30.0, show_default=True, help="Seconds to wait for an answer."),
        click.option(
            "--warmup", type=click.FloatRange(0), default=20.0, show_default=True,
            help="Seconds at most; it is over once three seconds agree in rate and median to a tenth.",
        ),
        click.option("--seed", type=int, default=1, show_default=True, help="Of arrivals and of payloads' order."),
        click.option(
            "--processes", type=_POSITIVE, default=max((os.cpu_count() or 1) // 4, 1), show_default=True,
            help="Of the generator.",
        ),
        click.option(
            "--late-ms", type=seconds,
            help="How late the generator may be at p99 for a valid run. Default: a twentieth of --slo-ms, else 1.",
        ),
    )  # fmt: skip


def _where() -> tuple[Callable[..., Any], ...]:
    file = click.Path(dir_okay=False, path_type=Path)
    return (
        click.option("--json", "as_json", type=file, help="Write everything there, too, as JSON."),
        click.option("--csv", type=file, help="Write benchmark-ab.py's columns there, and some more."),
        click.option(
            "--inference", metavar="ADDRESS",
            help="Inference address of the server. Default: $TS_INFERENCE_ADDRESS, else as for --management.",
        ),
        click.option(
            "--key", metavar="KEY",
            help="Its inference key. Default: $TS_INFERENCE_TOKEN, else the key file's of the server that runs here.",
        ),
        click.option(
            "-imu", "--path", "--inference_model_url", "path", metavar="PATH",
            help="What is asked, of any server. Default: predictions/MODEL.",
        ),
    )  # fmt: skip


def _of_ab() -> tuple[Callable[..., Any], ...]:
    nothing: dict[str, Any] = {"hidden": True, "expose_value": False}
    return (
        click.option(
            "-cp", "--config_properties", "--config-properties", type=click.Path(exists=True, path_type=Path),
            help="config.properties to take the addresses from.",
        ),
        click.option(
            "-rl", "--report_location", "--report-location", type=click.Path(path_type=Path),
            help="Folder to write benchmark/ab_report.csv in.",
        ),
        click.option("-u", "--url", help=f"Archive to register for the run, as MODEL (default: {_BENCHMARK})."),
        click.option("-w", "--workers", type=_POSITIVE, default=1, show_default=True, help="Of --url."),
        click.option(
            "-bs", "--batch_size", "--batch-size", type=_POSITIVE, default=1, show_default=True, help="Of --url."
        ),
        click.option(
            "-bd", "--batch_delay", "--batch-delay", type=click.IntRange(0), default=200, show_default=True,
            help="Of --url, in milliseconds.",
        ),
        click.option("-e", "--exec_env", type=click.Choice(["local"]), **nothing),
        click.option("-bb", "--benchmark_backend", **nothing),
        click.option("-td", "--tmp_dir", **nothing),
    )  # fmt: skip
