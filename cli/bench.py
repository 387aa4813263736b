"""The command `torchserve bench`, which measures how fast a server answers one model's requests correctly."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..core.container_limits import available_cores
from ..core.interpreter_build import describe_interpreter
from .bench_openai import BenchCommand
from .bench_options import BenchOptions, bench_options, read_bench_options
from .bench_protocol import RPC, Spoken, speak
from .bench_report import Subject, ab_columns, as_csv, as_json, markdown
from .client import Client
from .loadgen.outcome import Outcome
from .loadgen.payload import Payload, read_payloads
from .loadgen.scenario import Closed, Open, Scenario
from .reference_answers import choose_check
from .scrape import Scrape, read_scrape
from .server_stats import ServerStats, server_stats
from .target import find_inference, find_target


class NothingMeasured(click.ClickException):
    """An error that ends `torchserve bench` with exit status 2: nothing was measured, for the reason in its message."""

    exit_code = 2


@click.command(cls=BenchCommand, context_settings={"max_content_width": 110})
@bench_options
def bench(**given: Any) -> None:
    """Load MODEL of a running server and print what came of it, as Markdown.

    With --rate requests are sent on schedule (open loop), and latencies count from when a request was due. With
    --concurrency each connection waits for its answer (closed loop), so a slow server is sent fewer requests. Every
    answer is checked. Exit status: 0; 1 if requests failed or the generator was late, so that the figures are not to be
    used; 2 if nothing was measured.

    Language models behind OpenAI's API have options of their own: torchserve bench --openai URL --help.

    \b
    torchserve bench mnist --input digit.png --rate 200 --slo-ms 50
    torchserve bench mnist --input images/ --concurrency 16 --seconds 30 --json result.json
    torchserve bench mnist --input digit.png --protocol grpc --concurrency 64 --channels 8
    """
    options = read_bench_options(given)
    try:
        outcome, subject = _run(options)
    except click.UsageError:
        raise
    except click.ClickException as error:
        raise NothingMeasured(error.message) from None
    click.echo(markdown(outcome, subject))
    columns = ab_columns(outcome, subject)
    if options.as_json is not None:
        _write(options.as_json, json.dumps(as_json(outcome, subject), indent=2) + "\n")
    if options.csv is not None:
        _write(options.csv, as_csv(columns))
    if options.report_location is not None:
        _write(options.report_location / "benchmark" / "ab_report.csv", as_csv(columns))
    sys.exit(1 if outcome.faults() else 0)


def _run(options: BenchOptions) -> tuple[Outcome, Subject]:
    payloads, load = _payloads(options), options.load()
    with contextlib.ExitStack() as stack:
        management = _management(options)
        if management is not None:
            stack.enter_context(management)
        if options.url is not None:
            stack.enter_context(_registered(options, management))
        return _measure(options, payloads, load, management)


def _measure(
    options: BenchOptions, payloads: tuple[Payload, ...], load: Closed | Open, management: Client | None
) -> tuple[Outcome, Subject]:
    from .loadgen.generator import GeneratorError, drive  # slow to import: it needs multiprocessing

    rpc = options.protocol in RPC
    address, key = find_inference(options.inference, options.key, options.config_properties, rpc=rpc)
    spoken = _spoken(options, payloads)
    headers = dict(options.header) | ({"Authorization": f"Bearer {key}"} if key else {})
    scenario = Scenario(
        address, spoken.target, spoken.payloads, load, options.seconds, options.requests,
        None if options.slo_ms is None else options.slo_ms / 1e3,
        headers=headers, timeout=options.timeout, seed=options.seed, most_warmup=options.warmup,
        most_late=None if options.late_ms is None else options.late_ms / 1e3, processes=options.processes,
        verify=not (address.loopback or options.insecure),
        rpc=rpc, channels=options.channels, unwrap=spoken.unwrap, streams=spoken.streams,
    )  # fmt: skip
    check, words = choose_check(options.check, scenario, spoken.read)
    before = _scrape(management)
    try:
        outcome = drive(replace(scenario, check=check))
    except GeneratorError as error:
        raise click.ClickException(str(error)) from None
    told = _server_stats(before, _scrape(management), options.model)
    source = str(options.input[0]) if options.input else "--data"
    described = _described(management, options.model)
    return outcome, Subject(options.model, source, words, _machine(), described, told, options.protocol)


def _spoken(options: BenchOptions, payloads: tuple[Payload, ...]) -> Spoken:
    if options.protocol == "rest":
        return Spoken(options.path, payloads)
    return speak(options.protocol, options.model, options.version, payloads, options.tensor)


def _payloads(options: BenchOptions) -> tuple[Payload, ...]:
    if options.data is not None:
        return (Payload("--data", options.data.encode(), options.content_type or "text/plain"),)
    try:
        return read_payloads(options.input, options.content_type)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--input: {error}") from None


def _management(options: BenchOptions) -> Client | None:
    """Return a client of the server's management and metrics APIs, or None if only an inference address was given.

    A server of another kind has no such APIs.
    """
    if options.inference is not None and options.management is None and options.url is None:
        return None
    target = find_target(options.management, options.token, options.insecure)
    return Client(target, timeout=120.0)


@contextlib.contextmanager
def _registered(options: BenchOptions, management: Client | None) -> Iterator[None]:
    """Register the model of --url as benchmark-ab.py does, and remove it when the context ends."""
    assert management is not None
    query = {
        "url": options.url, "model_name": options.model, "initial_workers": options.workers,
        "batch_size": options.batch_size, "max_batch_delay": options.batch_delay, "synchronous": True,
    }  # fmt: skip
    management.manage("POST", "models", query=query)
    try:
        yield
    finally:
        management.manage("DELETE", "models", options.model)


def _scrape(management: Client | None) -> Scrape | None:
    if management is None:
        return None
    with contextlib.suppress(click.ClickException):
        return read_scrape(management.scrape(), time.monotonic())
    return None


def _server_stats(before: Scrape | None, after: Scrape | None, model: str) -> ServerStats | None:
    return None if before is None or after is None else server_stats(before, after, model)


def _described(management: Client | None, model: str) -> dict[str, Any]:
    if management is None:
        return {}
    with contextlib.suppress(click.ClickException, LookupError):
        return management.manage("GET", "models", model)[0]
    return {}


def _machine() -> str:
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    system = f"{platform.system()} {platform.release()}, {describe_interpreter()}"
    return f"{available_cores():g} cores, {system}, load average {load}"


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise click.ClickException(f"{path} can't be written: {error.strerror}") from None
