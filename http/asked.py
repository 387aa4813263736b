"""Asked: what the head of a prediction asks for. The same bytes ask for the same, so that a connection which sends its
head again, as most clients do, has it read once.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping

from ..core.errors import BadRequest, RouteNotFound, TooLarge
from ..core.payload import Body, Part
from .body import CHECKED, check_json_syntax, is_form, last_of_each, split_body, split_slowly
from .limits import Limits
from .request import Head, by_lower_name, check_percent, decode_segment, media_type
from .routes import match_prediction
from .sites import Reach

_LONGEST = 2**31 - 1  # ms
_PRIORITIES = {str(level): level for level in range(-9, 10)}
_TRANSFER = frozenset(("transfer-encoding", "expect"))


class Asked:
    """`fields` are the head's, by lower-case name; `reach` says who can reach the listener that it came to. The rest is
    there once `find` has returned.

    `model` is "" where a form or the query may name it; `headers` are those that the handler sees; `timeout` is the
    seconds in which the client needs its answer, if it says. Many requests share one: nothing of it may be changed.
    """

    __slots__ = (
        "_check_json", "_content_type", "_given", "_kind", "fields", "found", "head", "headers", "model", "priority",
        "reach", "timeout", "version",
    )  # fmt: skip

    def __init__(self, head: Head, reach: Reach) -> None:
        self.head = head
        self.reach: Reach = reach
        self.headers = head.headers()
        self.fields = by_lower_name(self.headers)
        self.found = False

    def find(self, limits: Limits, *, decode: bool) -> None:
        """Raises RouteNotFound, TooLarge, BadRequest. `decode` is the setting decode_input_request."""
        path = self.head.path()
        check_percent(path)
        matched = match_prediction(path)
        if matched is None:
            raise RouteNotFound
        ask, params = matched
        query = {name: values[-1] for name, values in self.head.query().items()} if ask.query else {}
        self._given = [Part(name, "", value.encode("utf-8", "surrogateescape")) for name, value in query.items()]
        self.model = decode_segment(params.get("model", "")) or query.get("model_name", "")
        self.version = decode_segment(params["version"]) if "version" in params else None
        check_declared(self.fields, limits.max_request_size)
        self.timeout, self.priority = wishes(self.fields)
        self._content_type = self.fields.get("content-type", "")
        self._kind = media_type(self._content_type)
        self._check_json = decode and "content-encoding" not in self.fields
        # How the body came is of interest to who reads it, and done with.
        self.headers = {name: value for name, value in self.headers.items() if name.lower() not in _TRANSFER}
        if ask.explain:
            self.headers["explain"] = ask.explain
        if ask.url_path:
            self.headers["url_path"] = decode_segment(params.get("rest", ""))
        self.found = True

    def parts(self, body: Body, limits: Limits) -> tuple[Part, ...]:
        """The rows of the handler's input. Raises BadRequest."""
        if self._given or is_form(self._kind):
            parts = split_body(bytes(body), self._content_type, limits, check_json=self._check_json)
            return last_of_each([*self._given, *parts]) if self._given else parts
        if self._check_json and self._kind == "application/json" and 0 < len(body) <= CHECKED:
            check_json_syntax("body", body)
        return (Part("body", self._kind, body),)

    def parts_slowly(self, body: Body, limits: Limits) -> Generator[None, None, tuple[Part, ...]] | None:
        """Return the steps to `parts` of a body that would hold the loop for long, else None. They raise BadRequest."""
        if not is_form(self._kind):
            return None
        steps = split_slowly(body, self._content_type, limits)
        return steps if steps is None or not self._given else self._with_given(steps)

    def _with_given(self, steps: Generator[None, None, tuple[Part, ...]]) -> Generator[None, None, tuple[Part, ...]]:
        parts = yield from steps
        return last_of_each([*self._given, *parts])

    def headers_of(self, body: Body) -> dict[str, str]:
        """With the body's length, where the head did not say it."""
        if "content-length" in self.fields:
            return self.headers
        return {**self.headers, "content-length": str(len(body))}

    @property
    def awaits_continue(self) -> bool:
        return awaits_continue(self.fields)


def check_declared(fields: Mapping[str, str], limit: int) -> None:
    """Raise TooLarge for a body that says it is over `limit` bytes, before any of it is read."""
    declared = fields.get("content-length")
    if declared is not None and declared.isdigit():
        check_size(int(declared), limit)


def check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(f"The request body has {size} bytes and at most {limit} are accepted (max_request_size).")


def awaits_continue(fields: Mapping[str, str]) -> bool:
    """Whether the client holds its body back until it is told to go on."""
    return fields.get("expect", "").lower() == "100-continue"


def wishes(fields: Mapping[str, str]) -> tuple[float | None, int]:
    """The seconds in which the client needs its answer, if it says, and the request's priority. Raises BadRequest."""
    timeout, priority = fields.get("x-request-timeout-ms"), fields.get("x-request-priority")
    seconds = None
    if timeout is not None:
        if not (timeout.isascii() and timeout.isdigit() and 0 < int(timeout[:10]) <= _LONGEST and len(timeout) <= 10):
            raise BadRequest(f"x-request-timeout-ms must be a whole number from 1 to {_LONGEST}.")
        seconds = int(timeout) / 1000.0
    if priority is not None and priority not in _PRIORITIES:
        raise BadRequest("x-request-priority must be a whole number from -9 (first) to 9 (last); 0 is the default.")
    return seconds, _PRIORITIES[priority] if priority is not None else 0
