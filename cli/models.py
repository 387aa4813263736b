"""The commands `torchserve models …`, which list and change a running server's models through its management API."""

from __future__ import annotations

import json
from typing import Any

import click

from .client import Client, Refused
from .completion import complete_models
from .model_tables import show_traffic, show_versions, version_row
from .progress import while_registering, working
from .tables import show_table
from .target import find_target, target_options

_JSON = click.option("--json", "as_json", is_flag=True, help="Print the server's own JSON.")
_WAIT = click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Return when the workers are ready, or at once."
)
_NAME = click.argument("name", shell_complete=complete_models)


@click.group(context_settings={"max_content_width": 110})
def models() -> None:
    """List, describe, register, scale and remove the models of a running server."""


def _changing(management: str | None, token: str | None, *, insecure: bool) -> Client:
    """Return a client without a time limit, for operations that may load a model: the server's own limits end them."""
    return Client(find_target(management, token, insecure), timeout=None)


def _print_json(answer: object) -> None:
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False))


def _tell(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        _print_json(answer)
    else:
        click.echo(answer["status"])


@models.command("list")
@_JSON
@target_options
def list_models(as_json: bool, management: str | None, token: str | None, insecure: bool) -> None:
    """List all models: their default version, workers that serve and that are wanted, and waiting requests."""
    with Client(find_target(management, token, insecure)) as client:
        found = list(client.models())
        if as_json:
            _print_json({"models": found})
            return
        rows = []
        for model in found:
            try:
                rows.append(version_row(client.manage("GET", "models", model["modelName"])[0]))
            except Refused as error:
                if error.status != 404:  # it was removed after the list was read
                    raise
    if rows:
        show_table(("model", "version", "workers", "batch", "waiting", "url"), rows)
    else:
        click.echo("No models: register one with `torchserve models register ARCHIVE`.", err=True)


@models.command()
@_NAME
@click.option("--version", help="This version. Default: the model's default version.")
@click.option("--all", "every", is_flag=True, help="All its versions.")
@click.option("--customized", is_flag=True, help="Include what the model's handler says about itself.")
@_JSON
@target_options
def describe(name: str, version: str | None, every: bool, customized: bool, as_json: bool, **target: Any) -> None:
    """Show the options, the queue and the workers of the model NAME."""
    if every and version:
        raise click.UsageError("--all and --version exclude one another")
    path = ["models", name, *(["all"] if every else [version] if version else [])]
    with Client(find_target(**target)) as client:
        found = client.manage("GET", *path, query={"customized": customized or None})
    if as_json:
        _print_json(found)
    else:
        show_versions(found)


@models.command()
@click.argument("url", metavar="ARCHIVE")
@click.option("--name", help="The model's name. Default: the archive's.")
@click.option("--workers", type=click.IntRange(0), help="Workers to start. Default: as the archive or the server says.")
@click.option("--batch-size", type=click.IntRange(1), help="Largest number of requests in a batch.")
@click.option(
    "--max-batch-delay", type=click.IntRange(0), help="Longest wait of a request for others, in milliseconds."
)
@click.option("--response-timeout", type=click.IntRange(1), help="Longest time for a batch, in seconds.")
@click.option(
    "--startup-timeout", type=click.IntRange(1), help="Longest time for a worker to load the model, in seconds."
)
@click.option("--handler", help="Handler to use in place of the archive's.")
@click.option(
    "--runtime", type=click.Choice(["python", "python3", "LSP"]), help="Runtime to use in place of the archive's."
)
@click.option("--s3-sse-kms", is_flag=True, help="Sign the download for S3.")
@_WAIT
@_JSON
@target_options
def register(url: str, name: str | None, workers: int | None, wait: bool, as_json: bool, **rest: Any) -> None:
    """Register ARCHIVE: a file or folder of the server's model store, the path of a folder there, or a URL."""
    target = {key: rest.pop(key) for key in ("management", "token", "insecure")}
    rest["s3_sse_kms"] = rest["s3_sse_kms"] or None
    wanted = {"url": url, "model_name": name, "initial_workers": workers, "synchronous": wait, **rest}
    with _changing(**target) as client, while_registering(client.target, url):
        answer = client.manage("POST", "models", query=wanted)
    _tell(answer, as_json=as_json)


@models.command()
@_NAME
@click.argument("workers", type=click.IntRange(0))
@click.option("--max", "maximum", type=click.IntRange(0), help="Largest number of workers. Default: WORKERS.")
@click.option("--version", help="This version. Default: the model's default version.")
@_WAIT
@_JSON
@target_options
def scale(
    name: str, workers: int, maximum: int | None, version: str | None, wait: bool, as_json: bool, **target: Any
) -> None:
    """Change the number of workers of the model NAME to WORKERS at least."""
    if maximum is not None and maximum < workers:
        raise click.UsageError(f"--max {maximum} is less than {workers}")
    path = ["models", name, *([version] if version else [])]
    with _changing(**target) as client, working(f"Scaling {name} to {workers} workers"):
        query = {"min_worker": workers, "max_worker": maximum, "synchronous": wait}
        answer = client.manage("PUT", *path, query=query)
    _tell(answer, as_json=as_json)


@models.command()
@_NAME
@click.option("--version", help="This version. Default: the model's default version.")
@_JSON
@target_options
def rm(name: str, version: str | None, as_json: bool, **target: Any) -> None:
    """Remove the model NAME after it has answered the requests that it has accepted."""
    path = ["models", name, *([version] if version else [])]
    with _changing(**target) as client, working(f"Removing {name}"):
        answer = client.manage("DELETE", *path)
    _tell(answer, as_json=as_json)


@models.command()
@_NAME
@click.option("--version", help="This version. Default: all versions.")
@_JSON
@target_options
def purge(name: str, version: str | None, as_json: bool, **target: Any) -> None:
    """Drop the answers of the model NAME that are kept (its yaml's `cache`)."""
    path = ["models", name, *([version] if version else []), "cache"]
    with Client(find_target(**target)) as client:
        answer = client.manage("DELETE", *path)
    _tell(answer, as_json=as_json)


@models.command()
@_NAME
@click.argument("shares", nargs=-1, metavar="[VERSION=PERCENT]...")
@click.option("--sticky", metavar="HEADER", help="Requests with one value of HEADER go to one version.")
@click.option("--shadow", metavar="VERSION", help="Version that gets copies, whose answers are thrown away.")
@click.option("--shadow-percent", type=click.IntRange(1, 100), help="Share of the requests that is copied.")
@click.option("--shadow-limit", type=click.IntRange(1, 1024), help="Copies that may run at a time.")
@click.option("--rollout", metavar="VERSION", help="Version that gets more step by step, while it does well.")
@click.option("--step", type=click.IntRange(1, 100), help="Percent that it gets more each time.")
@click.option("--every", type=click.FloatRange(1, 86400), help="Seconds between two steps.")
@click.option("--max-error-rate", type=click.FloatRange(0, 1), help="Failures, of 1, at which it loses its share.")
@click.option("--max-p99-ratio", type=click.FloatRange(1, 1000), help="The same for its p99, in times the others'.")
@click.option("--min-requests", type=click.IntRange(1), help="Requests without which nothing is decided.")
@click.option("--off", is_flag=True, help="Have the default version answer all requests.")
@_JSON
@target_options
def traffic(name: str, shares: tuple[str, ...], off: bool, as_json: bool, **rest: Any) -> None:
    """Share the requests to the model NAME that name no version: 1.0=90 2.0=10. Without options, show the shares."""
    target = {key: rest.pop(key) for key in ("management", "token", "insecure")}
    wanted = {key: value for key, value in rest.items() if value is not None}
    for each in shares:
        version, separator, percent = each.rpartition("=")
        if not separator:
            raise click.UsageError(f"{each} is not VERSION=PERCENT")
        wanted[version] = percent
    if off and wanted:
        raise click.UsageError("--off stands alone")
    method = "DELETE" if off else "PUT" if wanted else "GET"
    with Client(find_target(**target)) as client:
        answer = client.manage(method, "models", name, "traffic", query=wanted or None)
    if method == "GET" and not as_json:
        show_traffic(answer)
    else:
        _tell(answer, as_json=as_json)


@models.command("set-default")
@_NAME
@click.argument("version")
@_JSON
@target_options
def set_default(name: str, version: str, as_json: bool, **target: Any) -> None:
    """Make VERSION the one that answers when a request to the model NAME names none."""
    with _changing(**target) as client:
        answer = client.manage("PUT", "models", name, version, "set-default")
    _tell(answer, as_json=as_json)
