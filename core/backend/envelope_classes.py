"""The envelopes as TorchServe's classes, which handlers' tests wrap around a handle function."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

from ..handlers.context import Context
from .envelopes import enveloped
from .loader import EntryPoint


class BaseEnvelope(abc.ABC):
    """A base for envelopes: `parse_input` takes the inputs out of a request, `format_output` wraps the answers."""

    def __init__(self, handle_fn: EntryPoint) -> None:
        self._handle_fn = handle_fn
        self.context: Any = None

    def handle(self, data: Any, context: Context) -> Any:
        self.context = context
        results = self._handle_fn(self.parse_input(data) if data else data, context)
        return self.format_output(results) if results else results

    @abc.abstractmethod
    def parse_input(self, data: Any) -> Any: ...

    @abc.abstractmethod
    def format_output(self, data: Any) -> Any: ...


class _Named:
    envelope: ClassVar[str]

    def __init__(self, handle_fn: EntryPoint) -> None:
        self._enveloped = enveloped(self.envelope, handle_fn)

    def handle(self, data: Any, context: Context) -> Any:
        return self._enveloped(data, context)


class BodyEnvelope(_Named):
    envelope = "body"


class JSONEnvelope(_Named):
    envelope = "json"


class KServeEnvelope(_Named):
    envelope = "kserve"


class KServev2Envelope(_Named):
    envelope = "kservev2"
