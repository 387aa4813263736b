"""The lone requests before a load: does the model answer, and what is the right answer to each payload?"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

import click

from ..core.config.address import Address
from .connection import connection_to
from .loadgen.checks import Check, Expected, any_answer, echo, same
from .loadgen.payload import Payload

CHECKS = ("auto", "same", "echo", "status")


def choose_check(
    kind: str, address: Address, target: str, payloads: tuple[Payload, ...], headers: dict[str, str], timeout: float,
    *, verify: bool,
) -> tuple[Check, str]:  # fmt: skip
    """The check, and what it is in words. Raises click.ClickException where the server has no 200 for a payload.

    `auto` is `same`, unless the model gives two answers to one request.
    """
    connection = connection_to(address, timeout, verify=verify)
    try:
        asked = _asked(connection, target, payloads, headers)
        if kind in {"status", "echo"}:
            answer = next(asked)
            if kind == "status":
                return any_answer, "their status only"
            if answer != payloads[0].body:
                raise click.ClickException(f"{target} is no echo: {payloads[0].name} came back otherwise (--check)")
            return echo, "each is the request's body"
        if kind == "auto":
            again = next(_asked(connection, target, payloads[:1], headers))
            if not same(again, next(_asked(connection, target, payloads[:1], headers))):
                return any_answer, "their status only: two answers to one payload differed"
        return Expected(list(asked)), "each as the payload's lone answer, JSON numbers to three decimals"
    except (OSError, http.client.HTTPException) as error:
        cause = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        raise click.ClickException(
            f"No server answers at {address} ({cause}): start one with `torchserve --start`, or name its address with"
            " --inference."
        ) from None
    finally:
        connection.close()


def _asked(
    connection: http.client.HTTPConnection, target: str, payloads: tuple[Payload, ...], headers: dict[str, str]
) -> Iterator[bytes]:
    for payload in payloads:
        connection.request("POST", target, payload.body, {"Content-Type": payload.content_type, **headers})
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise click.ClickException(f"{target} answers {payload.name} with {response.status}: {_message(body)}")
        yield body


def _message(body: bytes) -> str:
    try:
        return " ".join(str(json.loads(body)["message"]).split())
    except (ValueError, LookupError, TypeError):
        return repr(body[:200])
