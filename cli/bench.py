"""`torchserve bench`: how fast does this server answer this model's requests, rightly?"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from .bench_options import BenchOptions, bench_options, read_bench_options
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
    """One line that says why."""

    exit_code = 2


@click.command(context_settings={"max_content_width": 110})
@bench_options
def bench(**given: Any) -> None:
    """Load MODEL of a running server and print what came of it, as Markdown.

    With --rate the load comes when it comes (open loop), and latencies count from when a request was due; with
    --concurrency each connection waits for its answer (closed loop), so a slow server is asked less. Every answer is
    checked. Exit status: 0; 1 if requests failed or the generator was late, so that the figures are not to be used;
    2 if nothing was measured.

    \b
    torchserve bench mnist --input digit.png --rate 200 --slo-ms 50
    torchserve bench mnist --input images/ --concurrency 16 --seconds 30 --json result.json
    """
    asked = read_bench_options(given)
    try:
        outcome, subject = _run(asked)
    except click.UsageError:
        raise
    except click.ClickException as error:
        raise NothingMeasured(error.message) from None
    click.echo(markdown(outcome, subject))
    columns = ab_columns(outcome, subject)
    if asked.as_json is not None:
        _write(asked.as_json, json.dumps(as_json(outcome, subject), indent=2) + "\n")
    if asked.csv is not None:
        _write(asked.csv, as_csv(columns))
    if asked.report_location is not None:
        _write(asked.report_location / "benchmark" / "ab_report.csv", as_csv(columns))
    sys.exit(1 if outcome.faults() else 0)


def _run(asked: BenchOptions) -> tuple[Outcome, Subject]:
    payloads, load = _payloads(asked), asked.load()
    with contextlib.ExitStack() as stack:
        management = _management(asked)
        if management is not None:
            stack.enter_context(management)
        if asked.url is not None:
            stack.enter_context(_registered(asked, management))
        return _measure(asked, payloads, load, management)


def _measure(
    asked: BenchOptions, payloads: tuple[Payload, ...], load: Closed | Open, management: Client | None
) -> tuple[Outcome, Subject]:
    from .loadgen.generator import GeneratorError, drive  # late: it brings multiprocessing

    address, key = find_inference(asked.inference, asked.key, asked.config_properties)
    headers = dict(asked.header) | ({"Authorization": f"Bearer {key}"} if key else {})
    verify = not (address.loopback or asked.insecure)
    check, words = choose_check(asked.check, address, asked.path, payloads, headers, asked.timeout, verify=verify)
    scenario = Scenario(
        address, asked.path, payloads, load, asked.seconds, asked.requests,
        None if asked.slo_ms is None else asked.slo_ms / 1e3, check, headers, asked.timeout, asked.seed,
        most_warmup=asked.warmup, most_late=None if asked.late_ms is None else asked.late_ms / 1e3,
        processes=asked.processes, verify=verify,
    )  # fmt: skip
    before = _scrape(management)
    try:
        outcome = drive(scenario)
    except GeneratorError as error:
        raise click.ClickException(str(error)) from None
    told = _server_stats(before, _scrape(management), asked.model)
    source = str(asked.input[0]) if asked.input else "--data"
    return outcome, Subject(asked.model, source, words, _machine(), _described(management, asked.model), told)


def _payloads(asked: BenchOptions) -> tuple[Payload, ...]:
    if asked.data is not None:
        return (Payload("--data", asked.data.encode(), asked.content_type or "text/plain"),)
    try:
        return read_payloads(asked.input, asked.content_type)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--input: {error}") from None


def _management(asked: BenchOptions) -> Client | None:
    """The server's other faces: whoever benchmarks a server of another kind names one that it hasn't, and gets None."""
    if asked.inference is not None and asked.management is None and asked.url is None:
        return None
    target = find_target(asked.management, asked.token, asked.insecure)
    return Client(target, timeout=120.0)


@contextlib.contextmanager
def _registered(asked: BenchOptions, management: Client | None) -> Iterator[None]:
    """The model of --url, as benchmark-ab.py registers one, until the end."""
    assert management is not None
    query = {
        "url": asked.url, "model_name": asked.model, "initial_workers": asked.workers, "batch_size": asked.batch_size,
        "max_batch_delay": asked.batch_delay, "synchronous": True,
    }  # fmt: skip
    management.manage("POST", "models", query=query)
    try:
        yield
    finally:
        management.manage("DELETE", "models", asked.model)


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
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {system}, load average {load}"


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise click.ClickException(f"{path} can't be written: {error.strerror}") from None
