"""Head and Request: a request as it arrived, whatever library read it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from ...core.errors import BadRequest

_BROKEN_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class BrokenEncoding(BadRequest):
    """An error for a path or query in which two hex digits don't follow a percent sign."""

    def __init__(self, index: int) -> None:
        super().__init__(f"Invalid percent-encoding in the request target at index {index}.")


@dataclass(slots=True, eq=False)
class Head:
    """A request's first line and headers, as they came. `target` is path and query, percent-encoded.

    `peer` is the client's address, or its text; `version` is that of HTTP: "1.0", "1.1" or "2.0"; `keep_alive` is what
    the client asked for.
    """

    method: str
    target: str
    raw_headers: Sequence[tuple[bytes, bytes]]
    peer: object = None
    version: str = "1.1"
    keep_alive: bool = True

    @property
    def http11(self) -> bool:
        """Whether an answer may come in chunks."""
        return self.version != "1.0"

    def headers(self) -> dict[str, str]:
        """Return values by name as the client spelt it; of several with one name the last. Latin-1 fits any bytes."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.raw_headers}

    def path(self) -> str:
        """Return the target without query and fragment, still percent-encoded."""
        target = self.target
        if not target.startswith("/"):
            target = _origin_form(target)
        if "?" in target or "#" in target:
            target = target.partition("?")[0].partition("#")[0]
        return target

    def query(self) -> dict[str, list[str]]:
        """Return the query's decoded values by name. Raises BadRequest."""
        text = self.target.partition("?")[2].partition("#")[0]
        values: dict[str, list[str]] = {}
        if text:
            check_percent(self.target)
            try:
                pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=128, errors="replace")
            except ValueError:
                raise BadRequest("The query has more than 128 parameters.") from None
            for name, value in pairs:
                values.setdefault(name, []).append(value)
        return values


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request to a route that does not predict. `content_type` is in lower case, without parameters.

    `head` is what tells who has sent it.
    """

    method: str
    params: Mapping[str, str]
    query: Mapping[str, Sequence[str]]
    content_type: str = ""
    body: bytes = b""
    head: Head | None = None


def by_lower_name(headers: Mapping[str, str]) -> dict[str, str]:
    """Return these headers under lower-case names."""
    return {name.lower(): value for name, value in headers.items()}


def media_type(value: str) -> str:
    """Return the media type of a content type: `application/json` of `Application/JSON; charset=utf-8`."""
    return value.partition(";")[0].strip().lower()


def decode_segment(text: str) -> str:
    """Return a segment of a path, percent-decoded. `check_percent` must have passed the path before."""
    return unquote(text, errors="replace") if "%" in text else text


def check_percent(text: str) -> None:
    """Raise BrokenEncoding if two hex digits don't follow a percent sign."""
    broken = _BROKEN_PERCENT.search(text)
    if broken is not None:
        raise BrokenEncoding(broken.start())


def _origin_form(target: str) -> str:
    """Return `/path` of `http://host/path`, which proxies send. A target without a scheme is returned as it is."""
    _, scheme, rest = target.partition("://")
    return "/" + rest.partition("/")[2] if scheme else target
