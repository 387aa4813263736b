"""`torchserve bench --openai URL`, which measures when the tokens of a language model come from any OpenAI API."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from .loadgen.arrivals import recorded
from .loadgen.scenario import ENDLESS, Open
from .tokenload.event_reader import BadStream
from .tokenload.prompts import Prompt, prompts, read_pairs
from .tokenload.token_load import TokenScenario, run
from .tokenload.token_stream import OpenAiServer
from .tokenload.token_tally import Slo, TokenTally, quantiles

_LATE = 0.02  # seconds at p99 that the generator may be late in an open loop
_POSITIVE = click.FloatRange(0, min_open=True)
_COUNT = click.IntRange(1)


class BenchCommand(click.Command):
    """The command `bench`, which with --openai has the options of `bench_openai` instead of its own."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if any(arg == "--openai" or arg.startswith("--openai=") for arg in args):
            return bench_openai.make_context(info_name, args, parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)


@click.command(context_settings={"max_content_width": 110})
@click.argument("model", required=False)
@click.option("--openai", "url", required=True, metavar="URL", help="The API, with or without /v1 at the end.")
@click.option("--key", envvar="OPENAI_API_KEY", help="The API key. Default: $OPENAI_API_KEY.")
@click.option("--header", multiple=True, metavar="'NAME: VALUE'", help="A header of each request. May be repeated.")
@click.option("--insecure", is_flag=True, help="Accept any certificate.")
@click.option(
    "-c", "--concurrency", type=_COUNT, help="Clients that ask again once they are answered (closed loop). Default: 4."
)
@click.option("--rate", type=_POSITIVE, help="Requests per second, sent on schedule (open loop).")
@click.option(
    "--arrivals", default="poisson", metavar="KIND", show_default=True,
    help="The schedule of --rate: poisson, bursty, or a file with one time in seconds per line.",
)  # fmt: skip
@click.option("--seconds", type=_POSITIVE, default=30.0, show_default=True, help="Seconds to send requests for.")
@click.option("-r", "--requests", type=_COUNT, help="Requests to send, in place of --seconds.")
@click.option("--warmup", type=click.IntRange(0), default=2, show_default=True, help="Requests ahead that don't count.")
@click.option("--timeout", type=_POSITIVE, default=600.0, show_default=True, help="Seconds to wait for an answer.")
@click.option("--slo-ttft-ms", type=_POSITIVE, help="Milliseconds within which the first token is in time.")
@click.option("--slo-tpot-ms", type=_POSITIVE, help="Milliseconds that each further token may take in the mean.")
@click.option("--prompt-tokens", type=_COUNT, help="About so many tokens in each prompt. Default: drawn.")
@click.option("--output-tokens", type=_COUNT, help="At most so many tokens in each answer. Default: drawn.")
@click.option(
    "--lengths", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of recorded lengths to draw from: on each line the tokens of a prompt and of its answer.",
)  # fmt: skip
@click.option(
    "--most-tokens", type=click.IntRange(8), default=2048, show_default=True,
    help="Prompt and answer together have at most so many tokens: no more than the model's context.",
)  # fmt: skip
@click.option("--completions", is_flag=True, help="Ask /v1/completions in place of /v1/chat/completions.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of lengths, texts and arrivals.")
@click.option("--json", "as_json", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures to a file.")
def bench_openai(**given: Any) -> None:
    """Load a language model behind OpenAI's API with streamed requests, and print when their tokens came.

    MODEL is the model's name; default: the first of /v1/models. Exit status: 0; 1 if requests failed or the generator
    was late, so that the figures are not to be used; 2 if nothing was measured.

    \b
    torchserve bench --openai http://127.0.0.1:8080 --concurrency 16 --requests 200
    torchserve bench --openai http://127.0.0.1:8000/v1 --rate 4 --slo-ttft-ms 500 --slo-tpot-ms 50
    """
    pairs = _pairs(given["lengths"])
    load = _load(given)
    try:
        server = OpenAiServer(given["url"], given["key"] or "", _headers(given["header"]), insecure=given["insecure"])
    except ValueError as error:
        raise click.UsageError(f"--openai: {error}") from None
    lengths = {"most": given["most_tokens"], "prompt": given["prompt_tokens"], "answer": given["output_tokens"]}
    model, tally = asyncio.run(_run(server, given, load, prompts(given["seed"], pairs=pairs, **lengths)))
    if not tally.answers:
        text = ", ".join(f"{count}x {text}" for text, count in tally.failures.items()) or "no request was sent"
        _nothing(f"no answer: {text}")
    faults = _faults(tally, load)
    click.echo(report(model, tally, faults))
    if given["as_json"] is not None:
        told = {"model": model, "url": given["url"], "faults": faults, **tally.as_json()}
        try:
            given["as_json"].write_text(json.dumps(told, indent=2) + "\n")
        except OSError as error:
            raise click.ClickException(f"{given['as_json']} can't be written: {error.strerror}") from None
    sys.exit(1 if faults else 0)


async def _run(server: OpenAiServer, given: dict[str, Any], load: Open | None, texts: Any) -> tuple[str, TokenTally]:
    try:
        model = given["model"] or await _first_model(server)
    except (OSError, BadStream, ValueError, LookupError, TypeError) as error:
        _nothing(f"no list of models at {given['url']}: {error or type(error).__name__}")
    bounds = [None if given[name] is None else given[name] / 1e3 for name in ("slo_ttft_ms", "slo_tpot_ms")]
    completions: bool = given["completions"]

    def body(prompt: Prompt) -> dict[str, Any]:
        asked = {"prompt": prompt.text} if completions else {"messages": [{"role": "user", "content": prompt.text}]}
        more = {"stream": True, "stream_options": {"include_usage": True}, "temperature": 0}
        return {"model": model, "max_tokens": prompt.answer, **more, **asked}

    scenario = TokenScenario(
        "/completions" if completions else "/chat/completions", body, given["concurrency"] or 4, load,
        given["seconds"], given["requests"], given["warmup"], given["timeout"], given["seed"], Slo(*bounds),
    )  # fmt: skip
    try:
        return model, await run(server, scenario, texts)
    finally:
        server.close()


async def _first_model(server: OpenAiServer) -> str:
    status, answer = await server.get("/models", 30.0)
    if status != 200:
        raise ValueError(f"status {status}")
    return str(json.loads(answer)["data"][0]["id"])


def _nothing(text: str) -> NoReturn:
    click.echo(f"Error: {text}", err=True)
    sys.exit(2)


def _pairs(path: Path | None) -> list[tuple[int, int]]:
    try:
        return read_pairs(path) if path is not None else []
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--lengths: {error}") from None


def _load(given: dict[str, Any]) -> Open | None:
    rate, arrivals = given["rate"], given["arrivals"]
    if rate is None:
        if arrivals != "poisson":
            raise click.UsageError("--arrivals is for an open loop: give its --rate")
        return None
    if given["concurrency"] is not None:
        raise click.UsageError("--rate is an open loop and --concurrency a closed one: give one of them")
    if arrivals not in ENDLESS:
        try:
            next(recorded(Path(arrivals), rate))
        except (OSError, ValueError) as error:
            raise click.UsageError(f"--arrivals: poisson, bursty, or a file of seconds: {error}") from None
    return Open(rate, arrivals)


def _headers(values: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        name, colon, text = value.partition(":")
        if not colon or not name.strip() or not value.isprintable():
            raise click.UsageError(f"--header: {value!r} is not NAME: VALUE")
        found[name.strip()] = text.strip()
    return found


def _faults(tally: TokenTally, load: Open | None) -> list[str]:
    found = [f"{count} requests failed: {text}" for text, count in tally.failures.most_common(5)]
    late = tally.late.tail(0.99)
    if load is not None and late is not None and late > _LATE:
        found.append(f"the generator was {late * 1e3:.0f} ms late at p99: give it a core that the server doesn't use")
    return found


def report(model: str, tally: TokenTally, faults: list[str]) -> str:
    """Return the figures as Markdown, faults on top."""
    lines = [f"**Not to be used:** {fault}" for fault in faults]
    slo = tally.slo
    good = f"; {tally.good} of them in time" if slo.ttft is not None or slo.tpot is not None else ""
    lines += [
        f"{model}: {tally.answers} answers in {tally.seconds:.1f} s{good}", "",
        "| | mean | p50 | p90 | p99 |", "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for name, histogram in (
        ("time to first token, ms", tally.ttft), ("time per further token, ms", tally.tpot),
        ("between two pieces, ms", tally.gaps), ("whole answer, ms", tally.whole),
    ):  # fmt: skip
        cells = ("—" if value is None else f"{value:.1f}" for value in quantiles(histogram).values())
        lines.append(f"| {name} | {' | '.join(cells)} |")
    answers, seconds = max(tally.answers, 1), tally.seconds
    lines += [
        "", f"- {tally.tokens / seconds:.1f} tokens/s, {tally.answers / seconds:.2f} answers/s",
        f"- {tally.prompt_tokens / answers:.0f} tokens a prompt, {tally.tokens / answers:.0f} an answer",
    ]  # fmt: skip
    if good:
        lines.append(f"- goodput: {tally.good / seconds:.2f} answers/s, {tally.good / answers:.0%} in time")
    return "\n".join(lines)
