"""What a handler gives and gets when it calls another model of its server: ModelOrder, ModelAnswer, ModelCallFailed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from .prediction_exception import PredictionException


@dataclass(frozen=True, slots=True)
class ModelOrder:
    """A request to another model, for the request `idx` of the running batch, or for all of them. `timeout` is in s."""

    model: str
    data: Any
    version: str | None = None
    timeout: float | None = None
    idx: int | None = None

    def __post_init__(self) -> None:
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"a call's timeout is {self.timeout!r}; expected seconds over 0, or None")


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """The answer of another model: what a client of that model would get. A streamed answer is whole here."""

    body: bytes | bytearray
    status: int = 200
    content_type: str | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])

    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode("utf-8")

    def json(self) -> Any:
        """Return the body's JSON as a value."""
        return json.loads(self.body)


class ModelCallFailed(PredictionException):
    """A call to another model that has no answer. A handler that lets it pass answers its batch with this status and
    text.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, status)

    @property
    def status(self) -> int:
        """The HTTP status that a client of the called model would have got."""
        return self.error_code


class PendingCall(Protocol):
    """An interface for a call that has begun. Exactly one of its methods is called, once."""

    async def answer(self) -> ModelAnswer: ...
    def answer_blocking(self) -> ModelAnswer: ...


BeginCall = Callable[[ModelOrder], PendingCall]


def refuse_call(order: ModelOrder) -> PendingCall:
    """Raise RuntimeError: this process has no server."""
    raise RuntimeError(
        f"model {order.model} can't be called: no server is connected to this process. In tests, MockContext.models"
        " answers calls."
    )
