"""What a machine is called: its own name always, others if the resolver tells them in time."""

from __future__ import annotations

import socket
import threading

from torchserve.cli.own_names import own_names


async def test_names_of_the_resolver_in_lower_case() -> None:
    def resolve(name: str) -> tuple[str, list[str], list[str]]:
        assert name == "Gpu7"
        return "gpu7.Example.com.", ["models", ""], ["10.0.0.7"]

    assert await own_names(lambda: "Gpu7", resolve) == {"gpu7", "gpu7.example.com", "models"}


async def test_a_resolver_that_knows_nothing() -> None:
    def resolve(name: str) -> tuple[str, list[str], list[str]]:
        raise socket.gaierror(-2, "Name or service not known")

    assert await own_names(lambda: "gpu7", resolve) == {"gpu7"}


async def test_a_resolver_that_never_answers_is_not_waited_for() -> None:
    go_on = threading.Event()

    def resolve(name: str) -> tuple[str, list[str], list[str]]:
        go_on.wait()
        return "late", [], []

    assert await own_names(lambda: "gpu7", resolve, patience=0.05) == {"gpu7"}
    go_on.set()


async def test_this_machine() -> None:
    assert socket.gethostname().lower() in await own_names()
