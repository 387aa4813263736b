"""SequenceHeaders: the names of the headers that say which sequence a request belongs to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SequenceHeaders:
    """The headers by which a stateful model's handler learns a sequence's id, its beginning and its end."""

    id: str = "ts_request_sequence_id"
    start: str = "ts_request_sequence_start"
    end: str = "ts_request_sequence_end"
