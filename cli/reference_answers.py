"""The requests that are sent one by one before a load, to learn the correct answer to each payload."""

from __future__ import annotations

import http.client
import json

import click

from .connection import connection_to
from .loadgen.checks import Check, Expected, any_answer, echo, same
from .loadgen.payload import Payload
from .loadgen.scenario import Scenario

CHECKS = ("auto", "same", "echo", "status")


def choose_check(kind: str, scenario: Scenario) -> tuple[Check, str]:
    """Return the check for the scenario's responses, and its description in words.

    `kind` is one of CHECKS. `auto` is `same`, or `status` if the model answers one request in two ways. Raises
    click.ClickException if the server does not answer a payload with status 200.
    """
    connection = connection_to(scenario.address, scenario.timeout, verify=scenario.verify)
    first = scenario.payloads[0]
    try:
        if kind == "status":
            _answer(connection, scenario, first)
            return any_answer, "their status only"
        if kind == "echo":
            if _answer(connection, scenario, first) != first.body:
                raise click.ClickException(f"{scenario.target} is no echo: {first.name} came back otherwise (--check)")
            return echo, "each is the request's body"
        if kind == "auto" and not same(_answer(connection, scenario, first), _answer(connection, scenario, first)):
            return any_answer, "their status only: two answers to one payload differed"
        answers = [_answer(connection, scenario, payload) for payload in scenario.payloads]
        return Expected(answers), "each as the payload's lone answer, JSON numbers to three decimals"
    except (OSError, http.client.HTTPException) as error:
        cause = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        raise click.ClickException(
            f"No server answers at {scenario.address} ({cause}): start one with `torchserve --start`, or name its"
            " address with --inference."
        ) from None
    finally:
        connection.close()


def _answer(connection: http.client.HTTPConnection, scenario: Scenario, payload: Payload) -> bytes:
    headers = {"Content-Type": payload.content_type, **scenario.headers}
    connection.request("POST", scenario.target, payload.body, headers)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise click.ClickException(f"{scenario.target} answers {payload.name} with {response.status}: {_message(body)}")
    return body


def _message(body: bytes) -> str:
    try:
        return " ".join(str(json.loads(body)["message"]).split())
    except (ValueError, LookupError, TypeError):
        return repr(body[:200])
