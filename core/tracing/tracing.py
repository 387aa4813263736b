"""Tracing: the tracer of a server and the exporter behind it, from the settings."""

from __future__ import annotations

from .collectors import open_collector
from .exporter import Exporter
from .tracer import Tracer


class Tracing:
    """The tracer that front doors get, and the exporter that sends what it records."""

    def __init__(self, endpoint: str, headers: str, rate: float) -> None:
        """Raises InvalidConfig if the endpoint needs a package that is not installed."""
        told = dict([_pair(pair) for pair in headers.split(",") if pair.strip()])
        self.exporter = Exporter(open_collector(endpoint, told))
        self.tracer = Tracer(rate, self.exporter.offer)

    def close(self) -> None:
        """Send what is left, within a bound. May block; call it from a thread."""
        self.exporter.close()


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(), value.strip()
