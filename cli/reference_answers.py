"""The requests that are sent one by one before a load, to learn the correct answer to each payload."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any, Protocol

import click

from .connection import connection_to
from .loadgen.checks import Check, Expected, any_answer, echo, same
from .loadgen.payload import Payload
from .loadgen.rpc_answer import OK, RpcAnswer
from .loadgen.scenario import Scenario
from .rpc_connection import NoRpc, RpcConnection

CHECKS = ("auto", "same", "echo", "status")


class Asker(Protocol):
    """An interface for what sends a payload alone."""

    def ask(self, payload: Payload) -> bytes:
        """Return the answer. Raises click.ClickException if it is an error, OSError, HTTPException and NoRpc."""
        ...

    def close(self) -> None:
        """Close the connection."""


def choose_check(kind: str, scenario: Scenario, read: Callable[[bytes], Any] = json.loads) -> tuple[Check, str]:
    """Return the check for the scenario's responses, and its description in words.

    `kind` is one of CHECKS. `auto` is `same`, or `status` if the model answers one request in two ways. `read` makes
    the values of an answer. Raises click.ClickException if the server does not answer a payload with status 200, or OK.
    """
    asker = asker_of(scenario)
    first = scenario.payloads[0]
    try:
        if kind == "status":
            asker.ask(first)
            return any_answer, "their status only"
        if kind == "echo":
            if asker.ask(first) != first.body:
                raise click.ClickException(f"{scenario.target} is no echo: {first.name} came back otherwise (--check)")
            return echo, "each is the request's body"
        if kind == "auto" and not same(asker.ask(first), asker.ask(first), read):
            return any_answer, "their status only: two answers to one payload differed"
        answers = [asker.ask(payload) for payload in scenario.payloads]
        return Expected(answers, read), "each as the payload's lone answer, numbers to three decimals"
    except (OSError, http.client.HTTPException, NoRpc) as error:
        cause = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        kind = " gRPC" if scenario.rpc else ""
        raise click.ClickException(
            f"No{kind} server answers at {scenario.address} ({cause}): start one with `torchserve --start`, or name its"
            f"{kind} address with --inference."
        ) from None
    finally:
        asker.close()


def asker_of(scenario: Scenario) -> Asker:
    """Return what sends the scenario's payloads alone, over its protocol."""
    return _ByRpc(scenario) if scenario.rpc else _ByHttp(scenario)


class _ByHttp:
    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._connection = connection_to(scenario.address, scenario.timeout, verify=scenario.verify)

    def ask(self, payload: Payload) -> bytes:
        scenario = self._scenario
        headers = {"Content-Type": payload.content_type, **dict(payload.headers), **scenario.headers}
        self._connection.request("POST", scenario.target, payload.sent, headers)
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise click.ClickException(
                f"{scenario.target} answers {payload.name} with {response.status}: {_message(body)}"
            )
        return body

    def close(self) -> None:
        self._connection.close()


class _ByRpc:
    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._connection = RpcConnection(scenario.address, scenario.timeout, verify=scenario.verify)

    def ask(self, payload: Payload) -> bytes:
        scenario = self._scenario
        answer = RpcAnswer(scenario.unwrap, streams=scenario.streams)
        self._connection.call(scenario.call(payload), answer)
        if answer.status != OK:
            raise click.ClickException(f"{scenario.target} answers {payload.name} with {answer.cause}")
        return answer.body

    def close(self) -> None:
        self._connection.close()


def _message(body: bytes) -> str:
    try:
        told = json.loads(body)
        return " ".join(str(told.get("message") or told["error"]).split())
    except (ValueError, LookupError, TypeError, AttributeError):
        return repr(body[:200])
